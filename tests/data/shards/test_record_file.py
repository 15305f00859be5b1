"""CRC-32C and the framing of records, against published values and TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.data.shards import record_file
from tfrec_attn.data.shards.record_file import crc32c, framed

# RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
KNOWN = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
    (b"", 0),
]


def test_checksums_of_the_standard():
    data = np.frombuffer(b"".join(text for text, _ in KNOWN), np.uint8)
    found = crc32c(data, [len(text) for text, _ in KNOWN])
    assert found.tolist() == [expected for _, expected in KNOWN]
    assert crc32c(np.zeros(0, np.uint8), np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize("piece", [8, 4096])
def test_the_bytes_of_tensorflow(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(record_file, "_PIECE", piece)
    record_file._over_a_piece.cache_clear()
    random = np.random.default_rng(5)
    sizes = np.array([0, 1, 7, 8, 9, 4095, 4096, 4097, 20_000, 3])
    data = random.integers(0, 256, sizes.sum()).astype(np.uint8)
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for one in np.split(data, np.cumsum(sizes)[:-1]):
            writer.write(one.tobytes())
    assert framed(data, sizes).tobytes() == (tmp_path / "records").read_bytes()
    record_file._over_a_piece.cache_clear()
