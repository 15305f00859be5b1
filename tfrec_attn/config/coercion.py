"""Conversion of the values of a configuration to the types of their keys."""

import math
import os
import types
import typing
from typing import Any, get_args, get_origin

from tfrec_attn.config.yaml_tree import (
    Plain,
    YamlError,
    is_null,
    parse_bool,
    parse_float,
    parse_int,
    read_yaml,
    resolve,
)
from tfrec_attn.errors import ConfigError, shorten, shown

_MAXIMA = {int: (2**63 - 1, "9223372036854775807 (2 to the 63rd, less 1)"), float: (1e38, "1e38")}
_NO_MATCH = object()
_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    list: "a list",
    dict: "a section of keys",
}
_NAMES[Any] = "null, true, false, a number, text, or a list or section of them"


def coerce(key: str, value: Any, hint: Any) -> Any:
    """Converts a value to a type; the type, not YAML, decides how a text is read.

    Args:
        key: Name of the value in messages.
        value: From YAML, an argument or Python.
        hint: A type, a list or dict of a type, a `Literal` of texts, `Any`, or a union. The
            members of a union are tried in order.

    Raises:
        ConfigError: If the value cannot be of the type.
    """
    options = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if type(None) in options and is_null(value):
        return None
    # If a union has both, a text without a comma is a single value, not a list.
    is_one = isinstance(value, str) and "," not in value and value[:1] != "["
    for option in options:
        if is_one and get_origin(option) is list and get_args(option)[0] in options:
            continue
        converted = _convert(key, value, option)
        if converted is not _NO_MATCH:
            return converted
    expected = " or ".join(map(_name, options))
    raise ConfigError(f"{shorten(key)} must be {expected}, but is {describe(value)}.")


def _name(option: Any) -> str:
    if get_origin(option) is typing.Literal:
        return " or ".join(get_args(option))
    return "null" if option is type(None) else _NAMES.get(get_origin(option) or option, str(option))


def parse_flow(key: str, value: Any) -> Any:
    """Parses an argument such as `[a, b]` or `{a: 1}`, and returns any other value unchanged."""
    if not isinstance(value, Plain) or value[:1] not in ("[", "{"):
        return value
    try:
        return read_yaml(value)
    except YamlError as error:
        reason = shorten(str(error).removeprefix("line 1: "))
        raise ConfigError(
            f"The value of {shorten(key)} is not YAML: {shown(str(value))} ({reason})."
        ) from None


def usable_path(key: str, text: str) -> str:
    """Returns the path that a text names, with `~` at its start expanded.

    Args:
        key: Name of the path in messages.
        text: From an argument or a configuration.

    Raises:
        ConfigError: If no file can have the name.
    """
    path = os.path.expanduser(_text(key, text))
    encoded = os.fsencode(path)
    if not path or len(encoded) > 3000 or max(map(len, encoded.split(b"/"))) > 255:
        raise ConfigError(
            f"{shorten(key)} must be a path of 1 to 3000 bytes with names of at most 255, "
            f"but is {shown(text)}."
        )
    return path


def _convert(key: str, value: Any, option: Any) -> Any:
    if option is Any:
        return _any(key, parse_flow(key, value))
    if get_origin(option) is typing.Literal:
        return str(value) if isinstance(value, str) and value in get_args(option) else _NO_MATCH
    if option in (int, float):
        return _number(key, value, option)
    if option is bool and isinstance(value, str):
        found = parse_bool(value)
        return _NO_MATCH if found is None else found
    if option is str:
        return _text(key, value)
    if get_origin(option) is list:
        return _list(key, value, get_args(option)[0])
    if get_origin(option) is dict:
        value = parse_flow(key, value)
        return _dict(key, value, get_args(option)[-1]) if isinstance(value, dict) else _NO_MATCH
    return value if type(value) is option else _NO_MATCH


def _number(key: str, value: Any, option: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return _NO_MATCH
    found = value
    if isinstance(value, str):
        found = parse_int(value)
        found = parse_float(value) if found is None else found
    if found is None or (
        isinstance(found, float) and (math.isnan(found) or (option is int and found % 1))
    ):
        return _NO_MATCH
    maximum, text = _MAXIMA[option]
    if abs(found) > maximum:
        raise ConfigError(
            f"{shorten(key)} must be at most {text} in size, but is {describe(value)}."
        )
    # Adding 0.0 removes the sign of -0.0.
    return int(found) if option is int else float(found) + 0.0


def _text(key: str, value: Any) -> Any:
    if not isinstance(value, str) or (is_null(value) and not value):
        return _NO_MATCH
    if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        raise ConfigError(
            f"{shorten(key)} must be text in UTF-8 without NUL, but is {shown(str(value))}."
        )
    return str(value)


def _list(key: str, value: Any, item_type: Any) -> Any:
    if is_null(value):
        return _NO_MATCH
    value = parse_flow(key, value)
    if isinstance(value, Plain):
        value = [Plain(one.strip()) for one in value.split(",")]
    items = value if isinstance(value, list) else [value]
    return [coerce(f"{key}[{place}]", item, item_type) for place, item in enumerate(items)]


def _dict(key: str, value: dict[Any, Any], item_type: Any) -> dict[str, Any]:
    return {
        coerce(f"A key of {key}", name, str): coerce(f"{key}.{name}", item, item_type)
        for name, item in value.items()
    }


def _any(key: str, value: Any) -> Any:
    value = resolve(value)
    if isinstance(value, list):
        return _list(key, value, Any)
    if isinstance(value, dict):
        return _dict(key, value, Any)
    if type(value) in (int, float):
        return _number(key, value, type(value))
    if isinstance(value, str):
        return _text(key, value)
    return value if value is None or isinstance(value, bool) else _NO_MATCH


def describe(value: Any) -> str:
    """Describes a value for a message."""
    if is_null(value):
        return "empty" if value == "" else "null"
    if isinstance(value, Plain):
        return shown(str(value))
    return f"{_NAMES.get(type(value), type(value).__name__)} ({shown(value)})"
