"""The models: those of this folder by file name, and those of other packages.

`<name>.py` in this folder holds one final subclass of `SequenceModel`. Another package's model is
named `package.module:Class`, or by an entry point of the group `tfrec_attn.models`.
Classes such as `tfrec_attn.models.AttRec` are imported with TensorFlow on first use. All functions
except `get` and `has_own_prior` only read the source of a model.
"""

import ast
import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from tfrec_attn.config import loss_names
from tfrec_attn.errors import nearest, shorten, shown
from tfrec_attn.extensions import MODELS, Target

_FOLDER = Path(__file__).parent
_TYPES = {"None": type(None), **{one.__name__: one for one in (bool, int, float, str, list, dict)}}
# Keys of recommended settings. A model cannot choose the log.
_SETTING = re.compile(r"(data\.(?!source$|path$)|train\.|evaluate\.)[a-z0-9_.]+")
# `trains_on` of a model without a loss.
COUNTS = "counts"
_BOUND_BY_DATA = ("num_users", "num_items", "max_length")


class _Source(NamedTuple):
    """Where the class of a model is defined."""

    target: Target
    definition: ast.ClassDef


def names() -> list[str]:
    """Returns the names that `model.name` takes, without the form `package.module:Class`."""
    return sorted({*_built_in(), *MODELS.installed()})


def hidden() -> list[str]:
    """Returns the names of entry points that a built-in model of the same name hides."""
    return sorted(set(MODELS.installed()) & set(_built_in()))


def is_foreign(name: str) -> bool:
    """Returns whether a model is from another package."""
    return name not in _built_in()


def parameters(name: str) -> dict[str, Any]:
    """Returns the keywords of a model's constructor with their defaults.

    `num_users`, `num_items` and `max_length` are left out, because the data decide them.

    Raises:
        ConfigError: If there is no such model.
    """
    return {
        argument.arg: _literal(name, argument.arg, default) for argument, default in _keywords(name)
    }


def hints(name: str) -> dict[str, Any]:
    """Returns the types of the keywords of `parameters`.

    A type is the annotation, else the type of the default, else (for a default of None) `Any`.

    Raises:
        ConfigError: If there is no such model.
    """
    defaults = parameters(name)
    return {
        argument.arg: _type(argument.annotation, defaults[argument.arg])
        for argument, _ in _keywords(name)
    }


def recommended(name: str) -> dict[str, Any]:
    """Returns the recommended settings of a model, by configuration key such as `train.loss`.

    Raises:
        ConfigError: If there is no such model, or if its settings are not a dict of such keys.
    """
    found = _attribute(name, "recommended", {})
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and _SETTING.fullmatch(key) for key in found
    ):
        raise MODELS.refusal(
            name,
            "must have recommended settings of data, train and evaluate by key, such as "
            "{'train.loss': 'softmax'}",
        )
    return found


def trains_on(name: str) -> str:
    """Returns what a model trains on: "windows", "next_items", "masked_items" or "counts".

    Raises:
        ConfigError: If there is no such model, or if its `trains_on` has another value.
    """
    found, known = _attribute(name, "trains_on", "windows"), (*loss_names.all_batches(), COUNTS)
    if found not in known:
        raise MODELS.refusal(
            name, f"must have trains_on of {', '.join(known)}, but has {shown(found)}"
        )
    return found


def joins_runs(name: str) -> bool:
    """Returns whether a model copies the weights of finished runs instead of counting events.

    Raises:
        ConfigError: If there is no such model.
    """
    return bool(_attribute(name, "joins_runs", False))


def has_own_prior(name: str) -> bool:
    """Returns whether a model defines `prior`.

    Raises:
        ConfigError: As for `get`.
    """
    base = importlib.import_module("tfrec_attn.models.base").SequenceModel
    return get(name).prior is not base.prior


def uses_history(name: str) -> bool:
    """Returns whether the scores of a model depend on the history.

    Raises:
        ConfigError: If there is no such model.
    """
    return bool(_attribute(name, "uses_history", True))


def gap_key(name: str, parameters: dict[str, Any]) -> str | None:
    """Returns the key of the parameter that makes a model need times between events, or None.

    Args:
        name: Name of the model.
        parameters: Arguments of its constructor, by name.

    Raises:
        ConfigError: If there is no such model.
    """
    parameter = _attribute(name, "gap_parameter", None)
    return f"model.{parameter}" if parameters.get(parameter) is not None else None


def get(name: str):
    """Returns the class of a model.

    Raises:
        ConfigError: If there is no such model, if its module cannot be imported, if it is no
            `SequenceModel`, or if it inherits `trains_on` or `recommended`.
    """
    target = _find(name).target
    if not is_foreign(name):
        return getattr(importlib.import_module(target.module), target.attribute)
    found = MODELS.load(name, target)
    base = importlib.import_module("tfrec_attn.models.base").SequenceModel
    if not (isinstance(found, type) and issubclass(found, base)):
        raise MODELS.refusal(
            name, f"must be a subclass of tfrec_attn.models.SequenceModel, but is {shown(found)}"
        )
    in_source = {"trains_on": trains_on(name), "recommended": recommended(name)}
    for attribute, value in in_source.items():
        if getattr(found, attribute) != value:
            raise MODELS.refusal(
                name,
                f"must set {attribute} in its own class, because only the source of that is read",
            )
    return found


def _built_in() -> list[str]:
    return [path.stem for path in _FOLDER.glob("*.py") if path.stem not in ("__init__", "base")]


def _find(name: str) -> _Source:
    if name in _built_in():
        tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
        found = next(
            node
            for node in tree.body
            if isinstance(node, ast.ClassDef) and "SequenceModel" in map(_name, node.bases)
        )
        return _Source(Target(f"tfrec_attn.models.{name}", found.name), found)
    target = MODELS.target(name)
    if target is None:
        raise MODELS.unknown(name, sorted(_built_in()))
    return _Source(target, _class_in(target, name))


def _class_in(target: Target, name: str) -> ast.ClassDef:
    """Returns the definition of a class in the source of another package's module."""
    path, tree = MODELS.source(name, target)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if target.attribute not in classes:
        known = f", which defines {', '.join(classes)}" if classes else ", which defines none"
        raise MODELS.refusal(
            name,
            f"must name a class of {shorten(path, 200)}{shorten(known, 200)}"
            f"{nearest(target.attribute, classes)}",
        )
    found = classes[target.attribute]
    arguments = _constructor(found)
    if arguments is not None and arguments.posonlyargs:
        raise MODELS.refusal(
            name,
            f"must take arguments by name, but {arguments.posonlyargs[-1].arg} is positional-only",
        )
    missing = [
        one
        for one in _BOUND_BY_DATA
        if arguments is None or one not in {argument.arg for argument in arguments.args}
    ]
    if missing:
        raise MODELS.refusal(
            name,
            "must have a constructor of num_users, num_items and max_length, "
            f"but it has no {missing[0]}",
        )
    given = arguments.args[1 : len(arguments.args) - len(arguments.defaults)]
    given += [
        one
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    without = [one.arg for one in given if one.arg not in _BOUND_BY_DATA]
    if without:
        raise MODELS.refusal(
            name, f"must have a default for each parameter, but {without[0]} has none"
        )
    return found


def _constructor(definition: ast.ClassDef) -> ast.arguments | None:
    return next(
        (
            node.args
            for node in definition.body
            if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        ),
        None,
    )


def _attribute(name: str, attribute: str, default: Any) -> Any:
    """Returns the value of a class attribute in the source of a model."""
    for node in _find(name).definition.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if attribute in map(_name, targets) and node.value is not None:
            return _literal(name, attribute, node.value)
    return default


def _keywords(name: str) -> list[tuple[ast.arg, ast.expr]]:
    """Returns the keywords of a constructor and their defaults in the source."""
    arguments = _constructor(_find(name).definition)
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    pairs = [
        *zip(positional, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return [
        (argument, default)
        for argument, default in pairs
        if argument.arg not in _BOUND_BY_DATA and default
    ]


def _literal(name: str, attribute: str, node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
        if _is_plain(value):
            return value
    except (ValueError, TypeError, SyntaxError, MemoryError):
        pass
    raise MODELS.refusal(
        name,
        "must have numbers, texts, truth values, None, lists or dictionaries in its source, "
        f"but {attribute} is {shown(ast.unparse(node))}",
    ) from None


def _is_plain(value: Any) -> bool:
    """Returns whether a configuration file can store a value without changing it."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    return (
        all(map(_is_plain, value))
        if isinstance(value, list)
        else value is None or isinstance(value, (bool, int, float, str))
    )


def _type(annotation: ast.expr | None, default: Any) -> Any:
    if annotation is None:
        container = isinstance(default, (list, dict))
        return Any if default is None else type(default)[Any] if container else type(default)
    if isinstance(annotation, ast.BinOp):
        sides = _type(annotation.left, default), _type(annotation.right, default)
        return Any if Any in sides else sides[0] | sides[1]
    if isinstance(annotation, ast.Subscript):
        container = _type(annotation.value, default)
        if container not in (list, dict):
            return Any
        of = (
            annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        )
        return container[tuple(_type(one, default) for one in of)]
    return _TYPES.get(ast.unparse(annotation), Any)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def __getattr__(attribute: str):
    for name in _built_in():
        if _find(name).definition.name == attribute:
            return get(name)
    if attribute == "SequenceModel":
        return importlib.import_module("tfrec_attn.models.base").SequenceModel
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
