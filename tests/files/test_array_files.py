from pathlib import Path

import numpy as np
import pytest

from tfrec_attn.files.array_files import append_array, save_array


def test_arrays_come_back(tmp_path):
    values = np.arange(12).reshape(3, 4)[:, ::2]
    save_array(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    with open(tmp_path / "a.bin", "wb") as file:
        append_array(file, values[:1])
        append_array(file, values[1:])
    np.testing.assert_array_equal(np.fromfile(tmp_path / "a.bin", values.dtype), values.ravel())


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full"
)
def test_a_full_disk_is_an_error_for_small_arrays_too():
    with pytest.raises(OSError, match="No space left"):
        save_array(Path("/dev/full"), np.zeros(3))
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "wb") as file:
        append_array(file, np.zeros(3))
