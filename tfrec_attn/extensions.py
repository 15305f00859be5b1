"""Models, losses and data sources of other packages.

A name is `package.module:name`, or that of an entry point.
"""

import ast
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from tfrec_attn.errors import ConfigError, nearest, shorten, shown

_OWN = str(Path(__file__).parent)


class Target(NamedTuple):
    """The module and the attribute that a name refers to."""

    module: str
    attribute: str


@dataclass(frozen=True)
class Extension:
    """A key of the configuration to which other packages can add values.

    Attributes:
        key: The key.
        group: Group of the entry points that name such values.
        form: Form of a value without an entry point.
    """

    key: str
    group: str
    form: str

    def installed(self) -> list[str]:
        """Returns the names of the entry points of installed packages, sorted."""
        return sorted({point.name for point in metadata.entry_points(group=self.group)})

    def target(self, name: str) -> Target | None:
        """Returns what a name refers to, or None if it is neither an entry point nor of the form.

        Raises:
            ConfigError: If two packages have an entry point of this name.
        """
        points = metadata.entry_points(group=self.group, name=name)
        values = sorted({point.value for point in points})
        if len(values) > 1:
            raise ConfigError(
                f"{self.key}={shown(name)} is an entry point of two packages; "
                f"give {' or '.join(values)}."
            )
        value = (values[0] if values else name).partition("[")[0].strip()
        module, _, attribute = value.partition(":")
        valid = all(word.isidentifier() for word in (*module.split("."), attribute))
        return Target(module, attribute) if valid else None

    def unknown(self, name: str, built_in: list[str]) -> ConfigError:
        """Returns the error for an unknown name."""
        names = [*built_in, *(one for one in self.installed() if one not in built_in)]
        return ConfigError(
            f"{self.key} must be one of {', '.join(names)}, or {self.form}, "
            f"but is {shown(name)}{nearest(name, names)}."
        )

    def refusal(self, name: str, what: str) -> ConfigError:
        """Returns the error for a name that refers to something unsuitable."""
        return ConfigError(f"{self.key}={shorten(name, 100)} {what}.")

    def failure(self, name: str, what: str, error: BaseException) -> ConfigError:
        """Returns the error for code that raises an error, with its file and line."""
        return self.refusal(name, f"{what}: {cause(error, self.target(name))}")

    def source(self, name: str, target: Target) -> tuple[str, ast.Module]:
        """Parses the source of a module without importing it or its packages.

        Args:
            name: The value in the configuration.
            target: What it refers to.

        Returns:
            The path of the file and its syntax tree.

        Raises:
            ConfigError: If there is no such module, or if it is not Python source.
        """
        path = self._spec(name, target).origin
        if path is None or not path.endswith(".py"):
            raise self.refusal(
                name,
                f"must name a module of Python source, but {shorten(target.module)} is not one",
            )
        try:
            return path, ast.parse(Path(path).read_bytes(), path)
        except (OSError, SyntaxError, ValueError) as error:
            raise self.refusal(name, f"cannot be imported: {cause(error, target)}") from None

    def load(self, name: str, target: Target) -> Any:
        """Imports what a name refers to.

        Args:
            name: The value in the configuration.
            target: What it refers to.

        Raises:
            ConfigError: If there is no such module or attribute, or the import fails.
        """
        self._spec(name, target)
        try:
            module = importlib.import_module(target.module)
        except (Exception, SystemExit) as error:
            raise self.refusal(name, f"cannot be imported: {cause(error, target)}") from None
        if not hasattr(module, target.attribute):
            defined = (name for name, value in vars(module).items() if not inspect.ismodule(value))
            hint = nearest(target.attribute, [one for one in defined if not one.startswith("_")])
            raise self.refusal(
                name, f"cannot be found: {target.module} has no {target.attribute}{hint}"
            )
        return getattr(module, target.attribute)

    def _spec(self, name: str, target: Target) -> ModuleSpec:
        spec = _find(target.module.split("."))
        if spec is None:
            where = f"in {os.getcwd()} or installed"
            if getattr(sys.flags, "safe_path", False):
                where = "on the path, which does not include the current folder (python -P)"
            raise self.refusal(
                name, f"names no module: there is no {shorten(target.module)} {where}"
            )
        return spec


MODELS = Extension("model.name", "tfrec_attn.models", "package.module:Class")
LOSSES = Extension("train.loss", "tfrec_attn.losses", "package.module:function")
SOURCES = Extension("data.source", "tfrec_attn.sources", "package.module:function")


def short_name(name: str) -> str:
    """Returns a name without its module, for folders and tables."""
    return name.rpartition(":")[2] or name


def cause(error: BaseException, target: Target) -> str:
    """Describes an error in another package's code in one line, with file and line.

    Args:
        error: The error.
        target: What was imported or called. The reported line is the last one in its package, or in
            code that is not a library.
    """
    spec = _find([target.module.partition(".")[0]])
    package = spec and next(iter(spec.submodule_search_locations or ()), spec.origin)
    paths = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    libraries = (_OWN, "<", *paths)
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith(libraries) or (package and file.startswith(package)):
            place = f", {file}:{line}"
    text = str(error)
    if isinstance(error, SyntaxError):
        text = error.msg
        if error.filename:
            place = f", {error.filename}:{error.lineno}"
    first = text.strip().partition("\n")[0].rstrip(".")
    return shorten(f"{type(error).__name__}: {first}{place}", 300)


def _find(parts: list[str]) -> ModuleSpec | None:
    """Finds a module without importing its packages."""
    folder = os.getcwd()
    # `python -m` has the current folder on the path, a console script its own folder.
    if not getattr(sys.flags, "safe_path", False) and not {"", folder} & set(sys.path):
        sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):
        return None
    for count in range(2, len(parts) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[:count]), list(spec.submodule_search_locations))
    return spec if spec is not None and spec.loader is not None else None
