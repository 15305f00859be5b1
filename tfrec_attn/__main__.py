"""Lists the commands of the package: `python -m tfrec_attn`."""

import ast
import pkgutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments
from tfrec_attn.cli.terminal import write_line

_FOLDER = Path(__file__).parent
_COMMAND = 'if __name__ == "__main__":'


def main(arguments: list[str] | None = None) -> int:
    """Runs the command, and returns 0."""
    parser = Arguments(
        prog="python -m tfrec_attn",
        description="Lists the commands. Each explains its arguments with --help.",
    )
    parser.parse_args(arguments)
    short = _short_names()
    rows = [(name, short.get(name, ""), text) for name, text in sorted(commands().items())]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = ["Commands: python -m NAME, or the short name if there is one; --help explains each."]
    lines += ["", *(f"  {name:<{first}}  {other:<{second}}  {text}" for name, other, text in rows)]
    write_line("\n".join(lines))
    return 0


def commands() -> dict[str, str]:
    """Returns the modules that are commands, with the first line of their docstrings.

    Their sources are parsed, not imported, because most commands load TensorFlow.
    """
    found = {}
    for name, file in _modules(_FOLDER, _FOLDER.name):
        source = file.read_text(encoding="utf-8")
        if f"\n{_COMMAND}\n" in source:
            line = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
            text = line.partition(": `python -m")[0].rstrip(".")
            found[name.removesuffix(".__main__")] = text
    return found


def _modules(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    for module in pkgutil.iter_modules([str(folder)], f"{package}."):
        path = folder / module.name.rpartition(".")[2]
        if module.ispkg:
            yield from _modules(path, module.name)
        else:
            yield module.name, path.with_suffix(".py")


def _short_names() -> dict[str, str]:
    """Returns the console commands of the installed package by module."""
    try:
        entry_points = metadata.distribution("tfrec-attn").entry_points
    except metadata.PackageNotFoundError:
        return {}
    scripts = entry_points.select(group="console_scripts")
    return {one.module.removesuffix(".__main__"): one.name for one in scripts}


if __name__ == "__main__":
    sys.exit(main())
