"""Lists the commands of the package: `python -m tfrec_attn`."""

import ast
import pkgutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments
from tfrec_attn.cli.terminal import say

_FOLDER = Path(__file__).parent
_COMMAND = 'if __name__ == "__main__":'


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0."""
    parser = Arguments(
        prog="python -m tfrec_attn",
        description="Lists the commands. Each explains its arguments with --help.",
    )
    parser.parse_args(arguments)
    short = _short_names()
    rows = [(name, short.get(name, ""), text) for name, text in sorted(commands().items())]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [
        "Commands: python -m NAME, or the short name where there is one; --help explains each.",
        "",
    ]
    lines += [
        f"  {name.ljust(widths[0])}  {other.ljust(widths[1])}  {text}" for name, other, text in rows
    ]
    say("\n".join(lines))
    return 0


def commands() -> dict[str, str]:
    """Modules that are commands, with a line on each from its docstring.

    They are read, not imported, because most of them load TensorFlow.
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
    """Module -> its console command, of the installed package."""
    try:
        entry_points = metadata.distribution("tfrec-attn").entry_points
    except metadata.PackageNotFoundError:
        return {}
    scripts = entry_points.select(group="console_scripts")
    return {one.module.removesuffix(".__main__"): one.name for one in scripts}


if __name__ == "__main__":
    sys.exit(main())
