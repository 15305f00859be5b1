"""Moves the label stable back to the version that it had before.

python -m serving.rollback --target HOST:PORT --model NAME --config FILE [--to VERSION]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import align, reporting
from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SERVABLE_SUMS, first_damage

from .cli.packages import importing
from .cli.shared_options import PREVIOUS, STABLE, add_label_options


@reporting(ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0 if the label now has the version, 1 if the server prevents it, 2 if the
        version does not exist or is damaged, or a file or an option is invalid. With 1 and 2, no
        label has moved.
    """
    parsed = _parser().parse_args(arguments)
    with importing(stubs_alone=True):
        from .checks import labels  # noqa: F401
    return _list(parsed) if parsed.list else _roll_back(parsed)


def _roll_back(parsed) -> int:
    from .checks.labels import LabelledModel

    if parsed.target is None:
        raise ConfigError("--target must be the HOST:PORT of the server; give it, or --list.")
    labelled = LabelledModel(parsed.target, parsed.model, parsed.config)
    now = labelled.version(parsed.label)
    folders = _folders(parsed, labelled.file)
    version = _choose(parsed, labelled.file, now, folders)
    if version != now:
        labelled.move({parsed.label: version}, seconds=parsed.load_seconds)
    moved = {"model": parsed.model, "label": parsed.label, "from": now, "to": version}
    if parsed.json:
        sys.stdout.write(f"{json.dumps(moved)}\n")
    elif version == now:
        sys.stdout.write(f"{parsed.label} is version {now} already: nothing to move.\n")
    else:
        sys.stdout.write(
            f"{parsed.label} moved from version {now} to {version} on {parsed.target} and in "
            f"{parsed.config}.\n"
        )
    return 0


def _choose(parsed, file, now, folders) -> int:
    """Chooses the version to go back to, and checks that it is complete."""
    older = [version for version in folders if version < now]
    if parsed.to is not None:
        version = parsed.to
    elif parsed.label == STABLE and PREVIOUS in file.labels:
        version = file.labels[PREVIOUS]
        if version == now:
            raise ConfigError(
                f"{PREVIOUS} is version {now} too, so that there is nothing to go back to; "
                f"name a version with --to ({_listed(folders, now)})."
            )
    elif older:
        version = max(older)
    else:
        raise ConfigError(
            f"{parsed.label} is version {now}, and there is no older one "
            f"({_listed(folders, now)}); name a version with --to."
        )
    if version not in folders:
        raise ConfigError(
            f"version {version} of {parsed.model} has no folder; "
            f"name another with --to ({_listed(folders, now)})."
        )
    if version != now and (damage := _damage(folders[version])):
        raise ConfigError(f"version {version} is damaged, {damage}; name another with --to.")
    return version


def _listed(folders, now) -> str:
    others = ", ".join(str(version) for version in folders if version != now)
    return f"there are {others}" if others else "there is no other"


def _folders(parsed, file) -> dict[int, Path]:
    """The folders of the versions by number, ascending."""
    from tfrec_attn.runtime.saved_model import versions_in

    base, option = file.base_path, f"base_path of {parsed.config},"
    if parsed.folder is not None:
        base, option = parsed.folder, "--folder"
    try:
        return dict(sorted(versions_in(Path(base)).items()))
    except OSError as error:
        raise ConfigError(
            f"{option} {base} cannot be read ({error.strerror}); "
            "give --folder, the folder of the versions on this machine."
        ) from None


def _damage(folder: Path) -> str | None:
    """A clause about damage in the folder of a version, or None."""
    from tfrec_attn.runtime.saved_model import LOADED

    if not (folder / "saved_model.pb").is_file():
        return f"{folder} has no saved_model.pb"
    return first_damage(folder, LOADED, SERVABLE_SUMS)


def _list(parsed) -> int:
    from .checks.model_config_file import ModelConfigFile

    file = ModelConfigFile(parsed.config, parsed.model)
    rows = []
    for version, folder in _folders(parsed, file).items():
        labels = sorted(label for label, number in file.labels.items() if number == version)
        rows.append({"version": version, "labels": labels, "damage": _damage(folder)})
    if parsed.json:
        sys.stdout.write(f"{json.dumps(rows)}\n")
        return 0
    lines = [["version", "labels", ""]]
    for row in rows:
        labels = ",".join(row["labels"]) or "-"
        lines.append([str(row["version"]), labels, row["damage"] or "complete"])
    sys.stdout.write(f"{align(lines, left=(1, 2))}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.rollback",
        description="Moves a label back to the version before, on the server and in its "
        "configuration file.",
    )
    parser.add_argument("--target", metavar="HOST:PORT", help="gRPC server")
    add_label_options(parser)
    parser.add_argument(
        "--folder",
        type=path,
        help="folder of the versions on this machine (default: base_path of the file)",
    )
    parser.add_argument(
        "--label", default=STABLE, help="label that is moved (default: %(default)s)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--to",
        type=int,
        metavar="VERSION",
        help="version to go back to (default: that of the label previous, else the next lower)",
    )
    which.add_argument(
        "--list", action="store_true", help="print the versions and their labels, move nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


if __name__ == "__main__":
    sys.exit(main())
