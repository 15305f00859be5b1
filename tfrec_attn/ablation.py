"""Varies keys of a configuration: `python -m tfrec_attn.ablation CONFIG --vary KEY=A,B,...`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from tfrec_attn.cli.arguments import (
    Arguments,
    add_trainings,
    check_trainings,
    path,
    split_config,
)
from tfrec_attn.cli.terminal import write_line
from tfrec_attn.errors import ConfigError, Interrupted, TfrecError
from tfrec_attn.studies.comparison.ablation import Ablation, ablate
from tfrec_attn.studies.comparison.ablation_plan import parse_variation
from tfrec_attn.studies.comparison.comparison import RESULTS
from tfrec_attn.studies.comparison.comparison_plan import log_name


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for a configuration, a key, a value or a folder that cannot be used; 1 if nothing could
        be trained; 130 after SIGINT and 143 after SIGTERM.
    """
    parsed = _parser().parse_intermixed_args(arguments)
    config, overrides = split_config(parsed.config, parsed.overrides)
    try:
        check_trainings(parsed)
        variations: dict[str, list[str]] = {}
        for text in parsed.vary:
            key, values = parse_variation(text)
            if key in variations:
                raise ConfigError(f"--vary must have each key once, but has {key} twice.")
            variations[key] = values
        folder = ablate(
            Ablation(
                source=config,
                variations=variations,
                overrides=overrides,
                to=Path(parsed.to or Path("ablations") / _name(config, variations)),
                seeds=parsed.seeds,
                jobs=parsed.jobs,
                metric=parsed.metric,
                slices=parsed.slices,
            )
        )
    except TfrecError as error:
        sys.stderr.write(f"{error}\n" if isinstance(error, Interrupted) else f"error: {error}\n")
        return error.exit_code
    write_line(f"Wrote {folder / RESULTS}.txt, .md, .tex, .csv and .json")
    return 0


def _name(config: str | None, keys: Iterable[str]) -> str:
    """Returns a name such as shop-user_weight."""
    name = "defaults" if config is None else log_name(config)
    return "-".join([name, *(key.rpartition(".")[2] for key in keys)])


def _parser() -> Arguments:
    parser = Arguments(
        prog="python -m tfrec_attn.ablation",
        description="Trains a configuration with other values of some keys, and writes a table and "
        "a plot of the test metrics. The same command resumes it.",
        epilog="python -m tfrec_attn.train --help lists the configurations of the package and all "
        "keys.",
    )
    parser.add_argument(
        "config", nargs="?", help="YAML file, or the name of a configuration of the package"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="values for all trainings",
    )
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="section.key=A,B,...",
        help="values of a key of model, train or prior, without commas; 0,0.2,...,1 is 0, 0.2, 0.4 "
        "and so on; of several keys, all combinations",
    )
    add_trainings(parser)
    parser.add_argument(
        "--to",
        type=path,
        metavar="DIR",
        help="folder to write (default: ablations/CONFIG-KEY)",
    )
    parser.add_argument(
        "--metric",
        help="metric of the plot, the differences and their tests (default: NDCG@10, or "
        "evaluate.metric if evaluate.k has no 10)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
