"""Compares models on logs: `python -m tfrec_attn.compare --data CONFIG ...`."""

import argparse
import sys
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments, add_trainings, is_override, path, require_at_least
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.errors import ConfigError, nearest, shown
from tfrec_attn.studies.comparison.comparison import compare
from tfrec_attn.studies.comparison.comparison_plan import SPLITS
from tfrec_attn.studies.comparison.comparison_run import RESULTS
from tfrec_attn.studies.comparison.comparison_search import Budget


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for configurations, models or a folder that cannot be used; 1 if no model could be
        trained on a log; 130 after SIGINT and 143 after SIGTERM.
    """
    parsed = _parser().parse_intermixed_args(arguments)
    logs = [one for one in parsed.data if not is_override(one)]
    overrides = [*parsed.overrides, *(one for one in parsed.data if is_override(one))]
    require_at_least(1, parsed, "seeds", "jobs")
    if not logs:
        raise ConfigError("--data must name a configuration or a folder of configurations.")
    options = ("seeds", "jobs", "metric", "against", "with_prior", "slices")
    folders = compare(
        logs,
        _names(parsed.models),
        overrides,
        Path(parsed.to),
        **{name: getattr(parsed, name) for name in options},
        splits=_splits(parsed.splits),
        budget=_budget(parsed),
    )
    for folder in folders:
        write_line(f"Wrote {folder / RESULTS}.txt, .md, .tex, .csv and .json")
    return 0


def _names(text: str) -> list[str] | None:
    names = [one.strip() for one in text.split(",") if one.strip()]
    if not names:
        raise ConfigError("--models must name a model or more, or be all.")
    return None if names == ["all"] else names


def _budget(parsed: argparse.Namespace) -> Budget | None:
    for option in ("trials", "seconds"):
        value = getattr(parsed, option)
        if value is not None and value <= 0:
            raise ConfigError(f"--{option} must be greater than 0, but is {value:g}.")
    budget = Budget(parsed.trials, parsed.seconds)
    return budget if any(one is not None for one in budget) else None


def _splits(text: str | None) -> list[str]:
    names = [] if text is None else [one.strip() for one in text.split(",")]
    for name in names:
        if name not in SPLITS:
            raise ConfigError(
                f"--splits must be some of {', '.join(SPLITS)}, with commas, but has {shown(name)}"
                f"{nearest(name, SPLITS)}."
            )
        if names.count(name) > 1:
            raise ConfigError(f"--splits must have each split once, but has {name} twice.")
    return names


def _parser() -> Arguments:
    parser = Arguments(
        prog="python -m tfrec_attn.compare",
        description="Trains models on the same logs with several seeds, and writes a table of "
        "their test metrics with intervals and paired tests. The same command resumes it.",
        epilog="python -m tfrec_attn.train --help lists the configurations of the package and all "
        "keys.",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        type=path,
        required=True,
        metavar="CONFIG",
        help="for each log: a YAML file, a folder of them, or a name of the package, such as "
        "beauty or beauty/sasrec; the configurations of a folder are the rows of its table",
    )
    parser.add_argument(
        "--models",
        default="all",
        metavar="NAMES",
        help="names of configurations of the folder or of models, separated by commas; a model "
        "without a configuration takes its recommended settings (default: all configurations of "
        "the folder, or all models)",
    )
    add_trainings(parser)
    parser.add_argument(
        "--to",
        type=path,
        default="comparisons",
        metavar="DIR",
        help="folder to write (default: comparisons)",
    )
    parser.add_argument(
        "--splits",
        metavar="NAMES",
        help="make a table for each of these splits, separated by commas, and compare the order of "
        f"the models: {', '.join(SPLITS)}; a temporal split has the limits data.valid_from and "
        "data.test_from, or 0.8 and 0.9 (default: the split of the configurations)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="first search the settings of each trained row with N trials, over section search of "
        "its configuration, or else over learning rate and dropout (default: no search)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="first search the settings of each trained row for S seconds",
    )
    parser.add_argument(
        "--against",
        metavar="NAME",
        help="row that all others are compared with (default: the counting model with the best "
        "validation metric)",
    )
    parser.add_argument(
        "--with-prior",
        action="store_true",
        help="add a row for each trained model with a prior of item transitions",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
