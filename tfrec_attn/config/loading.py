"""Configurations from YAML files, arguments and dictionaries, and back.

A YAML file overrides the defaults, and `section.key=value` arguments override the file. An unknown
key or a value of the wrong type raises a `ConfigError` that names the key, the expected value and
the given one. The type of a key decides how its value is read, in a file and in an argument: if the
key holds text, `010`, `yes` and `a #1: b` are text.
"""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_type_hints

from tfrec_attn.config.checks import check
from tfrec_attn.config.coercion import coerce, describe, parse_flow, usable_path
from tfrec_attn.config.config_files import read_config_file
from tfrec_attn.config.schema import Config, Model
from tfrec_attn.config.yaml_tree import Plain, is_null, write_yaml
from tfrec_attn.errors import ConfigError, nearest_of, shorten, shown

# Sections of a file that only `tfrec_attn.search` and `tfrec_attn.ablation` read.
SEARCH, STUDY = "search", "study"
# Keys whose values may begin with `~`, the user's folder.
_PATHS = ("run_dir", "data.source", "data.path", "data.items", "data.schema", "train.warm_start")


def load(
    path: str | Path | None = None,
    overrides: Iterable[str] = (),
    recommended: Callable[[str], dict[str, Any]] | None = None,
    print_fn: Callable[[str], None] | None = None,
) -> Config:
    """Reads a configuration from a model's recommended settings, a file and arguments.

    Section `search` of the file is ignored.

    Args:
        path: YAML file, or the name of a configuration of the package; None for the defaults.
        overrides: `section.key=value` texts; lists are `a,b` or `[a, b]`, sections `{a: 1}`, None
            is `null` or nothing.
        recommended: Function of a model's name that returns its recommended settings by key. The
            file and the arguments override them. None (default): there are none.
        print_fn: Receives a line on which recommended settings are used and which are overridden.

    Raises:
        ConfigError: If there is no such file, if it is not YAML, if a key is unknown, or if a value
            has the wrong type or is not allowed.
    """
    tree = read_config_file(path) if path is not None else {}
    if STUDY in tree:
        raise ConfigError(
            f"{path} describes an ablation, not a configuration; give it to "
            "python -m tfrec_attn.ablation."
        )
    tree.pop(SEARCH, None)
    return from_dict(overlay(tree, overrides, recommended, print_fn, path))


def overlay(
    tree: dict[str, Any],
    overrides: Iterable[str] = (),
    recommended: Callable[[str], dict[str, Any]] | None = None,
    print_fn: Callable[[str], None] | None = None,
    path: str | Path | None = None,
) -> dict[str, Any]:
    """Sets overrides in the sections of a file, and recommended settings that are not set yet.

    Args:
        tree: The sections, which are changed in place. `from_dict` checks them.
        overrides: As for `load`.
        recommended: As for `load`.
        print_fn: As for `load`.
        path: Name of the file, for `print_fn`.

    Returns:
        The tree.

    Raises:
        ConfigError: If an override is not `section.key=value`, or if its section holds a value.
    """
    overrides = list(overrides)
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(
                f"Expected section.key=value on the command line but got {shown(text)}."
            )
        _set(tree, name, Plain(value))
    if recommended is not None:
        section = tree.get("model")
        name = section.get("name", Model.name) if isinstance(section, dict) else Model.name
        settings = recommended(coerce("model.name", name, str))
        given = {
            key: found
            for key, value in settings.items()
            if (found := _set_default(tree, key, value)) is not value
        }
        if settings and print_fn:
            arguments = {text.partition("=")[0] for text in overrides}
            print_fn(_line_on_recommended(name, settings, given, arguments, path))
    return tree


def from_dict(tree: dict[str, Any]) -> Config:
    """Returns the checked configuration of nested dictionaries.

    Raises:
        ConfigError: If a key is unknown, or if a value has the wrong type or is not allowed.
    """
    config = _build(Config, tree, "")
    check(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Returns nested dictionaries that `from_dict` reads back."""
    tree = dataclasses.asdict(config)
    tree["model"] = {"name": config.model.name, **config.model.parameters}
    return tree


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dictionaries as one, with keys such as `train.epochs`."""
    found = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        found |= flatten(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """Returns the configuration with other values.

    Args:
        config: The configuration.
        values: Key, such as `train.epochs`, -> its value.

    Raises:
        ConfigError: As for `from_dict`.
    """
    tree = to_dict(config)
    for key, value in values.items():
        _set(tree, key, value)
    return from_dict(tree)


def to_yaml(config: Config) -> str:
    """Returns a YAML text that `load` turns into the same configuration."""
    return write_yaml(to_dict(config))


def with_model_parameters(
    config: Config, defaults: dict[str, Any], hints: dict[str, Any] | None = None
) -> Config:
    """Checks `model.*` against the keywords of a constructor, and adds the defaults of the others.

    Args:
        config: The configuration.
        defaults: Keyword -> its default.
        hints: Keyword -> its type. None (default): the type of its default, or null.

    Raises:
        ConfigError: If a keyword is unknown, or if a value has the wrong type.
    """
    merged = dict(defaults)
    for key, value in config.model.parameters.items():
        if key not in defaults:
            raise ConfigError(_unknown(f"model.{key}", key, [*defaults, "name"], "model."))
        hint = hints[key] if hints else _hint_of(defaults[key])
        merged[key] = coerce(f"model.{key}", value, hint)
    return dataclasses.replace(config, model=Model(config.model.name, merged))


def _hint_of(default: Any) -> Any:
    if default is None:
        return Any
    return (type(default)[Any] if isinstance(default, (list, dict)) else type(default)) | None


def _line_on_recommended(name, settings, given, arguments, path):
    """Returns a line on which recommended settings are used and which are replaced.

    `given` holds the settings that the user sets, in `arguments` or else in the file `path`.
    """
    used = " ".join(f"{key}={value}" for key, value in settings.items() if key not in given)
    replaced = [
        f"{key}={given[key]} instead of {value} ({'argument' if key in arguments else path})"
        for key, value in settings.items()
        if key in given and coerce(key, given[key], _hint_of(value)) != value
    ]
    note = f"; changed: {', '.join(replaced)}" if replaced else ""
    return f"Recommended for {name}: {used or 'all settings are given'}{note}."


def _set_default(tree: dict[str, Any], key: str, value: Any) -> Any:
    """Sets a key unless it is set, and returns its value."""
    *sections, last = key.split(".")
    for section in sections:
        if is_null(tree.get(section)):
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            return tree
    return tree.setdefault(last, value)


def _set(tree: dict[str, Any], name: str, value: Any) -> None:
    """Sets a key such as `train.epochs`."""
    *sections, last = name.split(".")
    for section in sections:
        tree[section] = {} if is_null(tree.get(section)) else parse_flow(section, tree[section])
        tree = tree[section]
        if not isinstance(tree, dict):
            raise ConfigError(
                f"{shorten(name)} cannot be set: {shorten(section)} is a value, not a section."
            )
    tree[last] = value


def _build(cls: type, tree: Any, prefix: str) -> Any:
    """Returns the dataclass of a section; `prefix` is the name of the section with a dot."""
    section = prefix.rstrip(".")
    tree = {} if is_null(tree) else parse_flow(section, tree)
    if not isinstance(tree, dict):
        raise ConfigError(f"{section} must be a section of keys, but is {describe(tree)}.")
    if cls is Model:
        rest = {key: value for key, value in tree.items() if key != "name"}
        values = {str(key): coerce(f"model.{key}", value, Any) for key, value in rest.items()}
        return Model(coerce("model.name", tree.get("name", Model.name), str), values)
    hints, names = get_type_hints(cls), [entry.name for entry in dataclasses.fields(cls)]
    values = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key not in names:
            raise ConfigError(_unknown(name, str(key), names, prefix))
        if dataclasses.is_dataclass(hints[key]):
            values[key] = _build(hints[key], value, f"{name}.")
        else:
            values[key] = coerce(name, value, hints[key])
        if name in _PATHS and values[key] is not None:
            values[key] = usable_path(name, values[key])
    return cls(**values)


def _unknown(key: str, word: str, choices: Iterable[str], prefix: str) -> str:
    match = nearest_of(word, choices, 0.5)
    valid = ", ".join(f"{prefix}{choice}" for choice in choices)
    hint = f"did you mean {prefix}{match}?" if match else f"valid are {valid}."
    return f"Unknown configuration key {shorten(key)}; {hint}"
