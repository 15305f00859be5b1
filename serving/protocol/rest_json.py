"""Converts between the JSON of TF Serving's REST API and NumPy arrays."""

import collections
import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from .json_values import ValueProblem, from_array, is_named, to_array, with_type
from .statuses import invalid

# An empty list takes 2 bytes of JSON, but 60 bytes in Python.
_MAX_BRACKETS, _MAX_COMMAS = 1 << 17, 1 << 19


@dataclasses.dataclass(frozen=True)
class PredictBody:
    """The body of a predict request.

    Attributes:
        signature: Name of the signature, "" for the default one.
        rows: True for rows ("instances"), False for columns ("inputs").
        value: Value of the key "instances" or "inputs".
    """

    signature: str
    rows: bool
    value: object


def parse(body: bytes) -> PredictBody:
    """Reads the body of a predict request.

    Raises:
        StatusError: INVALID_ARGUMENT if the body is not JSON or not a predict request.
    """
    request = document(body)
    if not isinstance(request, dict):
        raise invalid(
            f"A request must be a JSON object, but {with_type(request)} came; "
            'send {"instances": [...]} or {"inputs": ...}.'
        )
    signature = request.get("signature_name", "")
    if not isinstance(signature, str):
        raise invalid(f"'signature_name' must be a JSON string, but {with_type(signature)} came.")
    if ("instances" in request) == ("inputs" in request):
        raise invalid(
            "A request must have one of the keys 'instances' and 'inputs', but it has "
            + ("both." if "inputs" in request else "none.")
        )
    rows = "instances" in request
    value = request["instances" if rows else "inputs"]
    if rows and not (isinstance(value, list) and value):
        raise invalid(
            f"'instances' must be a list with at least one element, but {with_type(value)} came."
        )
    return PredictBody(signature, rows, value)


def to_arrays(
    body: PredictBody,
    dtypes: Mapping[str, np.dtype],
    defaults: Mapping[str, object] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Converts the inputs of a request to arrays. Texts are bytes in arrays of objects.

    Unlike TF Serving, it rejects columns that the signature does not have.

    Args:
        body: Result of `parse`.
        dtypes: NumPy type of each input of the signature, object for texts.
        defaults: Value in each row of each optional input (default: no input is optional).

    Raises:
        StatusError: INVALID_ARGUMENT if an input is missing, unknown or cannot be converted; the
            message names it.
    """
    if body.rows:
        rows = [{**defaults, **one} if is_named(one) else one for one in body.value]
        return _of_rows(rows, dtypes)
    return _of_columns(_with_columns(body.value, defaults), dtypes)


def from_arrays(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """Writes the body of a response.

    A single output is written without its name. NaN and infinity become null. Texts become {"b64":
    ...} if the name of the output ends in _bytes.

    Args:
        outputs: Array of each output.
        rows: True for "predictions" with an object for each row, False for "outputs" with columns.

    Raises:
        StatusError: INVALID_ARGUMENT for rows if the outputs differ in their first dimension.
    """
    columns = {name: from_array(name, np.asarray(array)) for name, array in sorted(outputs.items())}
    if not rows:
        return _dumped({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    shapes = {np.shape(array)[:1] for array in outputs.values()}
    if len(shapes) != 1 or shapes == {()}:
        raise invalid(
            f"The outputs {', '.join(columns)} have no first dimension in common; "
            "ask for them as columns, with 'inputs'."
        )
    if len(columns) == 1:
        return _dumped({"predictions": next(iter(columns.values()))})
    rows = zip(*columns.values(), strict=True)
    return _dumped({"predictions": [dict(zip(columns, row, strict=True)) for row in rows]})


def error_body(message: str) -> bytes:
    """Writes the body of an error."""
    return _dumped({"error": message})


def document(body: bytes) -> object:
    """Parses JSON.

    Raises:
        StatusError: INVALID_ARGUMENT if the body is not JSON, has too many values, or has an object
            with duplicate keys.
    """
    if not body:
        raise invalid("JSON Parse error: the document is empty.")
    brackets = body.count(b"[") + body.count(b"{")
    if brackets > _MAX_BRACKETS or body.count(b",") > _MAX_COMMAS:
        raise invalid("A request has too many values; send fewer rows, or shorter histories.")
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise invalid(
            f"JSON Parse error: {error.msg} at offset: {error.pos} "
            f"(line {error.lineno}, column {error.colno})."
        ) from None
    except UnicodeDecodeError as error:
        raise invalid(
            f"JSON Parse error: the text is not UTF-8 at offset: {error.start}."
        ) from None
    except RecursionError:
        raise invalid("JSON Parse error: the lists are nested too deeply.") from None
    except ValueError:
        raise invalid("JSON Parse error: a number has too many digits.") from None


def _object(pairs):
    """Rejects duplicate keys, because JSON parsers differ in which value they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = collections.Counter(key for key, _ in pairs).most_common(1)[0]
        raise invalid(f"An object has the key {with_type(twice)} twice; name it once.")
    return found


def _of_rows(instances, dtypes):
    if not is_named(instances[0]):
        if len(dtypes) > 1:
            names = ", ".join(dtypes)
            raise invalid(
                f"'instances' is a list of values, but the signature has the inputs {names}; "
                "send a list of objects with these keys."
            )
        instances = [_wrapped(index, value, dtypes) for index, value in enumerate(instances)]
    for index, element in enumerate(instances):
        _check_keys(index, element, dtypes)
    return {
        name: _column([element[name] for element in instances], name, dtype)
        for name, dtype in dtypes.items()
    }


def _wrapped(index, value, dtypes):
    if is_named(value):
        raise invalid(
            f"Element {index} of 'instances' must be a value or a list as the first element is, "
            f"but {with_type(value)} came."
        )
    return dict.fromkeys(dtypes, value)


def _check_keys(index, element, dtypes):
    if not is_named(element):
        raise invalid(
            f"Element {index} of 'instances' must be an object as the first element is, "
            f"but {with_type(element)} came."
        )
    for name in element.keys() - dtypes.keys():
        raise invalid(
            f"Element {index} of 'instances' has the input {with_type(name)}, "
            f"but the signature has {', '.join(dtypes)}."
        )
    for name in dtypes:
        if name not in element:
            raise invalid(
                f"Element {index} of 'instances' lacks the input {name!r}; "
                f"the signature has {', '.join(dtypes)}."
            )


def _column(values, name, dtype):
    """Converts the values of one input in all rows."""
    try:
        return to_array(values, dtype)
    except ValueProblem as problem:
        whole = problem
    first = None
    for index, value in enumerate(values):
        try:
            shape = to_array(value, dtype).shape
        except ValueProblem as problem:
            raise invalid(
                f"Failed to process element: {index} key: {name} of 'instances' list: {problem}."
            ) from None
        first = shape if first is None else first
        if shape != first:
            shapes = f"the shape {_bracketed(shape)}, but the first element has {_bracketed(first)}"
            raise invalid(
                f"Failed to process element: {index} key: {name} of 'instances' list: {shapes}; "
                "pad shorter ones."
            ) from None
    raise invalid(f"Failed to process key: {name} of 'instances' list: {whole}.")


def _with_columns(value, defaults):
    """Adds the missing columns that have a default, with as many rows as the first column."""
    first = next(iter(value.values()), None) if is_named(value) else None
    if not isinstance(first, list):
        return value
    return {**{name: [one] * len(first) for name, one in defaults.items()}, **value}


def _of_columns(value, dtypes):
    if not is_named(value):
        if len(dtypes) > 1:
            names = ", ".join(dtypes)
            raise invalid(
                f"'inputs' is a value or a list, but the signature has the inputs {names}; "
                "send an object with these keys."
            )
        value = dict.fromkeys(dtypes, value)
    for name in value.keys() - dtypes.keys():
        raise invalid(
            f"'inputs' has the input {with_type(name)}, but the signature has {', '.join(dtypes)}."
        )
    arrays = {}
    for name, dtype in dtypes.items():
        if name not in value:
            raise invalid(
                f"Missing named input: {name} in 'inputs' object; "
                f"the signature has {', '.join(dtypes)}."
            )
        try:
            arrays[name] = to_array(value[name], dtype)
        except ValueProblem as problem:
            raise invalid(f"Failed to process key: {name} of 'inputs' object: {problem}.") from None
    return arrays


def _dumped(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def _bracketed(shape):
    return f"[{', '.join(map(str, shape))}]"
