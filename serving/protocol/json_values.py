"""JSON values of tensors, read to and written from arrays."""

import base64
import binascii
import itertools
import json
from collections.abc import Sequence

import numpy as np

from .tensors import MAX_DIMENSIONS

_SHOWN = 80
_BYTES_SUFFIX = "_bytes"
_TYPES = {
    type(None): "Null",
    bool: "Boolean",
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}


class ValueProblem(Exception):
    """A value that cannot be converted to the type of its input."""


def to_array(value: object, dtype: np.dtype) -> np.ndarray:
    """Converts nested lists to an array.

    Raises:
        ValueProblem: If the lists of a level differ in length, or a value is not of the type.
    """
    shape, level = [], [value]
    while level and isinstance(level[0], list):
        if len(shape) == MAX_DIMENSIONS:
            raise ValueProblem(
                f"lists in at most {MAX_DIMENSIONS} levels are expected, but more came"
            )
        size = len(level[0])
        for element in level:
            if not isinstance(element, list):
                raise ValueProblem(
                    f"a list is expected at level {len(shape)}, but {with_type(element)} came"
                )
            if len(element) != size:
                raise ValueProblem(
                    f"a list of {size} elements is expected at level {len(shape)}, "
                    f"but one of {len(element)} came"
                )
        shape.append(size)
        level = list(itertools.chain.from_iterable(level))
    return np.array(_leaves(level, np.dtype(dtype)), dtype).reshape(shape)


def _leaves(values: Sequence, dtype: np.dtype) -> Sequence:
    if dtype.kind == "O":
        return [_text(value) for value in values]
    kinds = {"f": (int, float), "i": (int,), "u": (int,), "b": (bool,)}[dtype.kind]
    for value in values:
        if type(value) not in kinds or not _fits(value, dtype):
            raise ValueProblem(f"{dtype} is expected, but {with_type(value)} came")
    return values


def _fits(value, dtype):
    """Whether the type can hold the value without loss, which TF Serving requires."""
    if dtype.kind == "f":
        if isinstance(value, int):
            return abs(value) < 2 ** (np.finfo(dtype).nmant + 1)
        return not float(np.finfo(dtype).max) < abs(value) < np.inf
    return dtype.kind == "b" or np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def _text(value):
    try:
        if isinstance(value, str):
            return value.encode("utf-8")
        if isinstance(value, dict) and not is_named(value):
            return base64.b64decode(value["b64"], validate=True)
    except UnicodeEncodeError:
        raise ValueProblem("a text has half of a surrogate pair") from None
    except (binascii.Error, ValueError):
        raise ValueProblem(f"{with_type(value)} is not base64") from None
    raise ValueProblem(f"string is expected, but {with_type(value)} came")


def is_named(value: object) -> bool:
    """Returns whether a value is an object of inputs, and not {"b64": ...}, which is a text."""
    return isinstance(value, dict) and not (len(value) == 1 and isinstance(value.get("b64"), str))


def from_array(name: str, array: np.ndarray) -> object:
    """Converts an output to nested lists.

    Numbers that JSON does not have become null. Texts become {"b64": ...} if the name of the output
    ends in _bytes.
    """
    if array.dtype.kind in "OSU":
        write = _base64 if name.endswith(_BYTES_SUFFIX) else _decoded
        return _nested([write(value) for value in array.ravel().tolist()], array.shape)
    if array.dtype.kind != "f":
        return array.tolist()
    # The text of a float32 has the fewest digits that identify it. A conversion of the number to
    # float64 would add digits without meaning.
    numbers = map(float, array.ravel().astype("U32").tolist())
    return _nested(
        [
            number if finite else None
            for number, finite in zip(numbers, np.isfinite(array.ravel()), strict=True)
        ],
        array.shape,
    )


def _nested(values, shape):
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape).tolist()


def _decoded(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _base64(value):
    data = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(data).decode("ascii")}


def with_type(value: object) -> str:
    """Returns a JSON value, shortened, and its type, for messages."""
    short = value[: _SHOWN + 1] if isinstance(value, str) else value
    text = {dict: "{...}", list: "[...]"}.get(type(value)) or json.dumps(short)
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} (JSON {_TYPES[type(value)]})"
