"""The models, found by file name: `<name>.py` in this folder holds one final subclass of `SequenceModel`.

`tfrec_attn.models.AttRec` and the like import TensorFlow on first use; `names` and `parameters` only read the source.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

from tfrec_attn.errors import ConfigError, nearest, shown

_FOLDER = Path(__file__).parent
_TYPES = {"None": type(None), **{one.__name__: one for one in (bool, int, float, str, list, dict)}}
_BOUND_BY_DATA = ("num_users", "num_items", "max_length")


def names() -> list[str]:
    """Names that `model.name` takes."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in ("__init__", "base"))


def parameters(name: str) -> dict[str, Any]:
    """Keywords of a model's constructor with their defaults, without those that the data decides.

    Raises:
        ConfigError: For a name that no file has.
    """
    return {argument.arg: ast.literal_eval(default) for argument, default in _keywords(name)}


def hints(name: str) -> dict[str, Any]:
    """Types of the same keywords: as annotated, else that of the default, and any where the default is None.

    Raises:
        ConfigError: For a name that no file has.
    """
    defaults = parameters(name)
    return {argument.arg: _type(argument.annotation, defaults[argument.arg]) for argument, _ in _keywords(name)}


def get(name: str):
    """The model class of a name."""
    return getattr(importlib.import_module(f"tfrec_attn.models.{name}"), _class(name).name)


def _class(name: str) -> ast.ClassDef:
    if name not in names():
        raise ConfigError(f"model.name must be one of {', '.join(names())}, but is {shown(name)}{nearest(name, names())}.")
    tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and "SequenceModel" in map(_name, node.bases))


def _keywords(name: str) -> list[tuple[ast.arg, ast.expr]]:
    """Keywords of a constructor and their defaults in the source."""
    arguments = next(node.args for node in _class(name).body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    pairs = [*zip(positional, arguments.defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [(argument, default) for argument, default in pairs if argument.arg not in _BOUND_BY_DATA and default]


def _type(annotation: ast.expr | None, default: Any) -> Any:
    if annotation is None:
        container = isinstance(default, (list, dict))
        return Any if default is None else type(default)[Any] if container else type(default)
    if isinstance(annotation, ast.BinOp):
        return _type(annotation.left, default) | _type(annotation.right, default)
    if isinstance(annotation, ast.Subscript):
        of = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return _type(annotation.value, default)[tuple(_type(one, default) for one in of)]
    return _TYPES.get(ast.unparse(annotation), Any)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def __getattr__(attribute: str):
    for name in names():
        if _class(name).name == attribute:
            return get(name)
    if attribute == "SequenceModel":
        return importlib.import_module("tfrec_attn.models.base").SequenceModel
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
