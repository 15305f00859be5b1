"""Values of a configuration as the type that their key holds."""

import datetime
import types
import typing
from typing import Any, get_args, get_origin

from tfrec_attn.errors import ConfigError


def coerce(key: str, value: Any, hint: Any) -> Any:
    """The value as the hinted type: whole floats become int, ints and texts such as 1e-3 (which YAML reads as text) become float."""
    options = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        converted = _convert(key, value, option)
        if converted is not _NO:
            return converted
    expected = " or ".join("null" if option is type(None) else _NAMES.get(get_origin(option) or option, str(option)) for option in options)
    raise ConfigError(f"{key} must be {expected}, but is {kind(value)}.")


_NO = object()
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", list: "a list", dict: "a section of keys"}


def _convert(key: str, value: Any, option: Any) -> Any:
    if option is type(None):
        return None if value is None else _NO
    if option is Any:
        return value
    if option is float:
        return _to_float(value)
    if option is int and type(value) is int:
        return value
    if option is int:
        number = _to_float(value)
        return int(number) if number is not _NO and number == int(number) else _NO
    if get_origin(option) is list:
        items = value if isinstance(value, list) else [value]
        return [coerce(f"{key}[{i}]", item, get_args(option)[0]) for i, item in enumerate(items)] if value is not None else _NO
    if get_origin(option) is dict:
        return _convert_keys(key, value, get_args(option)[-1]) if isinstance(value, dict) else _NO
    if option is str and isinstance(value, datetime.date):
        return value.isoformat()
    return value if type(value) is option else _NO


def _convert_keys(key: str, value: dict[Any, Any], option: Any) -> dict[str, Any]:
    return {coerce(f"A key of {key}", name, str): coerce(f"{key}.{name}", item, option) for name, item in value.items()}


def _to_float(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return _NO
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return _NO
    return number if number - number == 0 else _NO


def kind(value: Any) -> str:
    if value is None:
        return "null"
    return f"{_NAMES.get(type(value), type(value).__name__)} ({value!r})"


def check_like(key: str, value: Any, default: Any) -> None:
    if default is not None and value is not None:
        coerce(key, value, type(default) if not isinstance(default, (list, dict)) else type(default)[Any])


def coerce_like(value: Any, default: Any) -> Any:
    if default is None or value is None:
        number = _to_float(value) if isinstance(value, str) else _NO
        return value if number is _NO else number
    return coerce("", value, type(default)) if not isinstance(default, (list, dict)) else value
