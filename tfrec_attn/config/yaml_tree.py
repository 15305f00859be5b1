"""YAML as nested dictionaries and lists of texts, whose types are not resolved yet."""

import re
from typing import Any

import yaml

_MAX_DEPTH = 20
_TEXT = "tag:yaml.org,2002:str"
_TAGS = (_TEXT, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map", "!")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)


class YamlError(ValueError):
    """A text that is not YAML; the message has no full stop."""


class Plain(str):
    """A text without quotes, which can stand for a value of another type."""


def read_yaml(text: str) -> Any:
    """Parses a text into dictionaries, lists, `str` (quoted) and `Plain` (unquoted), or None.

    Raises:
        YamlError: If the text is not YAML, gives a key twice, or has tags, aliases or deep nesting.
    """
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        return None if node is None else _tree(node, set(), 0)
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise YamlError(f"{where}{error.problem or error.context}") from None
    except RecursionError:
        raise YamlError(f"it is nested more than {_MAX_DEPTH} deep") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The scanner does not catch errors of chr() and int().
        raise YamlError(" ".join(str(error).split())) from None


def _tree(node: yaml.Node, seen: set[int], depth: int) -> Any:
    line = f"line {node.start_mark.line + 1}: "
    if id(node) in seen:
        raise YamlError(
            f"{line}an anchor (&) with its alias (*) is not read; write the value again"
        )
    seen.add(id(node))
    if node.tag not in _TAGS:
        raise YamlError(f"{line}a tag (!) is not read; write the value without it")
    if depth > _MAX_DEPTH:
        raise YamlError(f"{line}it is nested more than {_MAX_DEPTH} deep")
    if isinstance(node, yaml.ScalarNode):
        return Plain(node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_tree(one, seen, depth + 1) for one in node.value]
    tree = {}
    for key, value in node.value:
        line = f"line {key.start_mark.line + 1}: "
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(f"{line}a key must be a text")
        name = str(_tree(key, seen, depth + 1))
        if name in tree:
            raise YamlError(f"{line}the key {name} is given twice")
        tree[name] = _tree(value, seen, depth + 1)
    return tree


def write_yaml(tree: dict[str, Any]) -> str:
    """Returns a text that `read_yaml` and the types of the keys turn into the same tree."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = type(resolve(Plain(text))) is str
    # Only double quotes escape all kinds of line breaks.
    return dumper.represent_scalar(
        _TEXT, text, style='"' if not text.isprintable() else None if plain else "'"
    )


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Plain, _represent_text)


def resolve(value: Any) -> Any:
    """Resolves a plain text whose key has no type: null, true, false, a number or text.

    Other values are returned as they are.
    """
    if not isinstance(value, Plain):
        return value
    if is_null(value):
        return None
    for found in (parse_bool(value), parse_int(value), parse_float(value)):
        if found is not None:
            return found
    return str(value)


def is_null(value: Any) -> bool:
    """Whether a value is None, or the plain text `null` or an empty one."""
    return value is None or (isinstance(value, Plain) and value in ("", "null"))


def parse_bool(text: str) -> bool | None:
    """Parses `true` or `false`, ignoring case; returns None for another text."""
    return {"true": True, "false": False}.get(text.lower())


def parse_int(text: str) -> int | None:
    """Parses an integer in decimal digits (`010` is 10); returns None for another text."""
    return int(text) if re.fullmatch(r"[-+]?[0-9]{1,400}", text, re.ASCII) else None


def parse_float(text: str) -> float | None:
    """Parses a number in decimal digits, infinite if too large; returns None for another text."""
    return float(text) if _NUMBER.fullmatch(text) else None
