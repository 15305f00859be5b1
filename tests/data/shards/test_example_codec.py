"""Messages encoded with NumPy, parsed by protobuf."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.shards.example_codec import bytes_feature, examples, int64_feature

# Both sides of every length of a varint, and both ends of int64.
EDGES = [
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    *(2**bits + add for bits in range(7, 63, 7) for add in (-1, 0)),
]


def messages(rows):
    ends = np.cumsum(rows.sizes)
    return [
        tf.train.Example.FromString(rows.data[end - size : end].tobytes())
        for size, end in zip(rows.sizes, ends, strict=True)
    ]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from(EDGES), max_size=40), min_size=1, max_size=5))
def test_integers(lists):
    flat, lengths = (
        np.array([value for one in lists for value in one], np.int64),
        np.array([len(one) for one in lists]),
    )
    rows = examples(
        int64_feature("item", flat, lengths), int64_feature("n", lengths, np.ones_like(lengths))
    )
    assert [
        list(message.features.feature["item"].int64_list.value) for message in messages(rows)
    ] == lists
    assert [list(message.features.feature["n"].int64_list.value) for message in messages(rows)] == [
        [len(one)] for one in lists
    ]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_bytes(size):
    texts = [bytes(range(5)), b"x" * size]
    data, sizes = np.frombuffer(b"".join(texts), np.uint8), np.array([len(text) for text in texts])
    found = [
        message.features.feature["time"].bytes_list.value[0]
        for message in messages(examples(bytes_feature("time", data, sizes)))
    ]
    assert found == texts
