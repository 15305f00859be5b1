"""Configuration files of users, and those that come with the package."""

import os
from pathlib import Path
from typing import Any

from tfrec_attn.config.coercion import describe, usable_path
from tfrec_attn.config.yaml_tree import YamlError, is_null, read_yaml
from tfrec_attn.errors import ConfigError, nearest, shorten

_MAX_BYTES = 10_000_000
_STUDIES = "studies/"


def packaged() -> dict[str, Path]:
    """Returns the configurations of the package: name, such as ml-100k/attrec, -> file."""
    return {name: file for name, file in _files().items() if not name.startswith(_STUDIES)}


def packaged_studies() -> dict[str, Path]:
    """Returns the studies of the package: name, such as studies/attrec-dim, -> file."""
    return {name: file for name, file in _files().items() if name.startswith(_STUDIES)}


def _files() -> dict[str, Path]:
    folder = Path(__file__).parents[1] / "configs"
    files = folder.glob("*/*.yaml")
    names = ((file.relative_to(folder).with_suffix("").as_posix(), file) for file in files)
    return dict(sorted(names))


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Returns the nested sections of a YAML file, or of a configuration of the package by its name.

    Raises:
        ConfigError: If there is no such file, or if it does not hold sections in YAML.
    """
    path = usable_path("The path of the configuration file", str(path))
    name = shorten(path, 200)
    try:
        # A user's file precedes a configuration of the package; a user's folder does not.
        is_file = os.path.exists(path) and not os.path.isdir(path)
        file = path if is_file else _files().get(path.removesuffix(".yaml"), path)
        with open(file, "rb") as stream:
            tree = read_yaml(stream.read(_MAX_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"Configuration file {name} does not exist; give the path of a YAML file, none for the "
            f"defaults, or one that comes with the package: {_choices(path)}."
        ) from None
    except YamlError as error:
        raise ConfigError(
            f"Configuration file {name} is not YAML: {shorten(str(error), 200)}."
        ) from None
    except OSError as error:
        raise ConfigError(f"Configuration file {name} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ConfigError(
            f"Configuration file {name} cannot be read: it is not text in UTF-8."
        ) from None
    if is_null(tree):
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"Configuration file {name} must hold sections of keys, but holds {describe(tree)}."
        )
    return tree


def _choices(path: str) -> str:
    """Returns the configurations of the package in the folder of a path, or else the folders."""
    known = packaged_studies() if path.startswith(_STUDIES) else packaged()
    folder = f"{path.partition('/')[0]}/"
    listed = [name for name in known if name.startswith(folder)]
    listed = listed or sorted({f"{name.partition('/')[0]}/..." for name in known})
    return f"{', '.join(listed)}{nearest(path, known)}"
