"""TensorProto and arrays, compared with the functions of TensorFlow, and invalid protos."""

import tracemalloc

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.protocol import tensors
from serving.protocol.statuses import StatusError

ARRAYS = [
    np.array([["日本".encode(), b""], [b"\xff\x00", b"x" * 1000]], object),
    np.array(b"one", object),
    np.zeros((2, 0), object),
    np.array([[0.5, -1e30], [np.inf, 3.0]], np.float32),
    np.array(2.5, np.float32),
    np.zeros((0, 3), np.float32),
    np.array([1e300, -2.0]),
    np.array([[-(2**31), 2**31 - 1]], np.int32),
    np.array([-(2**63), 2**63 - 1], np.int64),
    np.array([True, False]),
    np.array([-128, 127], np.int8),
    np.array([-(2**15), 5], np.int16),
    np.array([0, 255], np.uint8),
    np.array([0, 65535], np.uint16),
    np.array([0, 2**32 - 1], np.uint32),
    np.array([0, 2**64 - 1], np.uint64),
]
EVERY = pytest.mark.parametrize(
    "array", ARRAYS, ids=lambda array: f"{array.dtype}-{'x'.join(map(str, array.shape))}"
)


def proto(dtype, shape, **values):
    result = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        result.tensor_shape.dim.add(size=size)
    return result


@EVERY
def test_reads_what_tensorflow_writes(array):
    read = tensors.to_array(tf.make_tensor_proto(array))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array, strict=True)


@EVERY
def test_tensorflow_reads_what_is_written(array):
    written = tensor_pb2.TensorProto()
    tensors.fill(written, array)
    np.testing.assert_array_equal(tf.make_ndarray(written), array)
    assert not written.tensor_content, (
        "TF Serving answers with values in their field, which simple clients read"
    )
    np.testing.assert_array_equal(tensors.to_array(written), array, strict=True)


def test_reads_a_slice_that_is_not_contiguous():
    written = tensor_pb2.TensorProto()
    tensors.fill(written, np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::2])
    assert list(written.int_val) == [0, 2, 3, 5]


def test_one_value_stands_for_all():
    read = tensors.to_array(proto(types_pb2.DT_INT64, [2, 2], int64_val=[7]))
    np.testing.assert_array_equal(read, [[7, 7], [7, 7]])


FLOAT, STRING = types_pb2.DT_FLOAT, types_pb2.DT_STRING


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (
            proto(STRING, [1, 3], string_val=[b"a", b"b"]),
            "has the shape [1, 3] and 2 values in string_val",
        ),
        (
            proto(STRING, [1], string_val=[b"a", b"b"]),
            "has the shape [1] and 2 values in string_val",
        ),
        (proto(STRING, [2]), "has the shape [2] and 0 values in string_val"),
        (proto(STRING, [2], float_val=[1.0, 2.0]), "has the shape [2] and 0 values in string_val"),
        (
            proto(STRING, [10**6, 10**6], string_val=[b"a"]),
            "has the shape [1000000, 1000000] and 1 values",
        ),
        (
            proto(FLOAT, [2], tensor_content=b"\0" * 7),
            "has the shape [2] and 7 bytes in tensor_content",
        ),
        (proto(FLOAT, [10**12], tensor_content=b"\0" * 8), "and 8 bytes in tensor_content"),
        (proto(STRING, [1], tensor_content=b"\1a"), "has texts in tensor_content"),
        (proto(FLOAT, [-1], float_val=[1.0]), "must have a shape of known sizes, but has [-1]"),
        (proto(types_pb2.DT_INVALID, [1]), "has the type DT_INVALID, which is not supported"),
        (proto(types_pb2.DT_RESOURCE, [1]), "has the type DT_RESOURCE, which is not supported"),
        (proto(999, [1]), "has the type number 999, which is not supported"),
        (proto(types_pb2.DT_INT8, [1], int_val=[1000]), "has values that DT_INT8 cannot hold"),
    ],
)
def test_a_damaged_proto_is_invalid(damaged, message):
    with pytest.raises(StatusError) as raised:
        tensors.to_array(damaged, "history")
    assert raised.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.message.startswith("tensor parsing error: history ")
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([1, 1 << 24], "must have at most 65536 elements, but has the shape [1, 16777216]"),
        ([1 << 62, 0], "must have at most 65536 elements"),
        ([1 << 40, 1 << 40], "must have at most 65536 elements"),
        ([1] * 65, "must have at most 8 dimensions, but has 65"),
        ([1 << 62] * 100_000, "must have at most 8 dimensions, but has 100000"),
        ([1, 1 << 16], "has the shape [1, 65536] and 1 values"),
    ],
)
def test_a_large_shape_is_refused_before_anything_is_made(shape, message):
    large = proto(STRING, shape, string_val=[b"a"])
    tracemalloc.start()
    try:
        with pytest.raises(StatusError) as raised:
            tensors.to_array(large, "history", most=1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert raised.value.code == grpc.StatusCode.INVALID_ARGUMENT and message in raised.value.message
    assert len(raised.value.message) < 400


def test_an_unknown_rank_is_invalid():
    damaged = proto(FLOAT, [], float_val=[1.0])
    damaged.tensor_shape.unknown_rank = True
    with pytest.raises(StatusError, match="an unknown rank"):
        tensors.to_array(damaged)


def test_what_cannot_be_sent():
    with pytest.raises(StatusError, match="an array of complex128 cannot be sent"):
        tensors.fill(tensor_pb2.TensorProto(), np.array([1j]))
