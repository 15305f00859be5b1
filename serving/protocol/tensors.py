"""TensorProto to NumPy and back: by hand, because `make_tensor_proto` takes longer over the ids of
a request than the model does.
"""

import math

import numpy as np
from tensorflow_serving.apis import predict_pb2

from .statuses import StatusError, invalid

# The message and its enumeration as the stubs have them: TensorFlow's own modules of them are not
# public.
TensorProto = type(predict_pb2.PredictRequest().inputs["any"])
_ENUM = TensorProto.DESCRIPTOR.fields_by_name["dtype"].enum_type

# Number of a type -> (type in NumPy, field with its values); texts are bytes in arrays of objects.
_TYPES = {
    _ENUM.values_by_name[name].number: (np.dtype(dtype), field)
    for name, dtype, field in (
        ("DT_STRING", object, "string_val"),
        ("DT_FLOAT", np.float32, "float_val"),
        ("DT_DOUBLE", np.float64, "double_val"),
        ("DT_INT32", np.int32, "int_val"),
        ("DT_INT64", np.int64, "int64_val"),
        ("DT_BOOL", np.bool_, "bool_val"),
        ("DT_INT16", np.int16, "int_val"),
        ("DT_INT8", np.int8, "int_val"),
        ("DT_UINT8", np.uint8, "int_val"),
        ("DT_UINT16", np.uint16, "int_val"),
        ("DT_UINT32", np.uint32, "uint32_val"),
        ("DT_UINT64", np.uint64, "uint64_val"),
    )
}
_NUMBERS = {dtype: number for number, (dtype, _) in _TYPES.items()}
# As many as TensorFlow's operations take; NumPy takes more, but not any number.
MOST_DIMENSIONS = 8
# One value stands for at most so many: a request of some bytes costs little more than its bytes.
_MOST_REPEATED = 1 << 12


def to_array(proto: TensorProto, name: str = "tensor", most: int | None = None) -> np.ndarray:
    """The array of a proto, with all values, one value that stands for all, or `tensor_content`.

    What the proto declares is checked before anything is made of it.

    Args:
        proto: Of a type that ids, numbers or flags have; texts become bytes in an array of objects.
        name: What the message of an error calls it.
        most: Elements, and the size of each dimension; None for no limit.

    Returns:
        An array of its shape; it may be read-only.

    Raises:
        StatusError: INVALID_ARGUMENT for an unknown type, a shape that is none or too large, or
            values that do not fill it.
    """
    dtype, field = _TYPES.get(proto.dtype, (None, None))
    if dtype is None:
        kind = type_name(proto.dtype)
        raise invalid(
            f"tensor parsing error: {name} has the type {kind}, which is not supported; "
            "send another."
        )
    shape = _shape(proto, name, most)
    size = math.prod(shape)
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dtype, shape, name)
    came = len(getattr(proto, field))
    if came != size and (came != 1 or size > _MOST_REPEATED):
        raise _unequal(name, shape, f"{came} values in {field}")
    # Of a repeated field a slice is a list; making it one by iteration takes twice as long.
    values = getattr(proto, field)[:]
    if came != size:
        values = values * size
    try:
        return _exact(values, dtype).reshape(shape)
    except (OverflowError, ValueError):
        raise invalid(
            f"tensor parsing error: {name} has values that {type_name(proto.dtype)} cannot hold; "
            "send others."
        ) from None


def _exact(values: list, dtype) -> np.ndarray:
    """Values as an array of a type. Errors: OverflowError where it is an integer too narrow for
    them, which NumPy 1 would cut.
    """
    if np.dtype(dtype).kind not in "iu" or np.dtype(dtype).itemsize > 2:
        return np.array(values, dtype)
    wide = np.array(values, np.int64)
    narrow = wide.astype(dtype)
    if (narrow != wide).any():
        raise OverflowError
    return narrow


def fill(proto: TensorProto, array: np.ndarray) -> None:
    """Writes an array into an empty proto, in the fields that TF Serving answers with.

    Args:
        proto: Empty.
        array: Of numbers, flags, or objects that are bytes.

    Raises:
        StatusError: INVALID_ARGUMENT for another type.
    """
    number = _NUMBERS.get(array.dtype)
    if number is None:
        raise invalid(
            f"an array of {array.dtype} cannot be sent; "
            "use numbers, flags, or objects that are bytes."
        )
    proto.dtype = number
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, _TYPES[number][1]).extend(array.ravel().tolist())


def type_name(number: int) -> str:
    """The name of a type, such as DT_STRING."""
    return (
        _ENUM.values_by_number[number].name
        if number in _ENUM.values_by_number
        else f"number {number}"
    )


def dtype_of(number: int) -> np.dtype | None:
    """The type in NumPy that arrays of a type have, None for one that is not supported; objects for
    texts.
    """
    return _TYPES.get(number, (None, None))[0]


def number_of(dtype: np.dtype) -> int | None:
    """The number of the type that arrays of a NumPy type are sent as, None where there is none."""
    return _NUMBERS.get(dtype)


def _shape(proto, name: str, most: int | None) -> tuple[int, ...]:
    rank = len(proto.tensor_shape.dim)
    if rank > MOST_DIMENSIONS:
        raise invalid(
            f"tensor parsing error: {name} must have at most {MOST_DIMENSIONS} dimensions, "
            f"but has {rank}; send fewer."
        )
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    if proto.tensor_shape.unknown_rank or (shape and min(shape) < 0):
        came = list(shape) or "an unknown rank"
        raise invalid(
            f"tensor parsing error: {name} must have a shape of known sizes, but has {came}; "
            "send the sizes."
        )
    if most is not None and max(math.prod(shape), *shape, 0) > most:
        raise invalid(
            f"tensor parsing error: {name} must have at most {most} elements, "
            f"but has the shape {list(shape)}; send fewer."
        )
    return shape


def _from_content(content: bytes, dtype: np.dtype, shape: tuple[int, ...], name: str) -> np.ndarray:
    if dtype.hasobject:
        raise invalid(
            f"tensor parsing error: {name} has texts in tensor_content; send them in string_val."
        )
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise _unequal(name, shape, f"{len(content)} bytes in tensor_content")
    return np.frombuffer(content, dtype).reshape(shape)


def _unequal(name: str, shape: tuple[int, ...], what: str) -> StatusError:
    return invalid(
        f"tensor parsing error: {name} has the shape {list(shape)} and {what}; "
        "send as many as the shape has elements."
    )
