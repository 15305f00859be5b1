"""Searches for the best settings of a model: `python -m tfrec_attn.search CONFIG.yaml`."""

import argparse
import shlex
import sys

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.arguments import Arguments, path, require_at_least, split_config
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.config.config_files import read_config_file
from tfrec_attn.config.loading import SEARCH
from tfrec_attn.config.yaml_tree import Plain, is_null
from tfrec_attn.errors import ConfigError
from tfrec_attn.studies.search.search import Search, search
from tfrec_attn.studies.search.study_folder import BEST
from tfrec_attn.training.settings import settings_without_effect

_PREFIX = f"{SEARCH}."
_TRIALS = 20


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for a configuration, a space or data that cannot be used; 1 for a search without a
        completed trial; 130 after SIGINT and 143 after SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    parsed = parser.parse_intermixed_args(arguments)
    config, texts = split_config(parsed.config, parsed.overrides)
    study, notes = _study(config, texts, parsed, arguments)
    folder = search(study, restart=parsed.restart, notes=notes)
    write_line(f"\nNext: python -m tfrec_attn.train {shlex.quote(str(folder / BEST))}")
    return 0


def _parser() -> Arguments:
    parser = Arguments(
        prog="python -m tfrec_attn.search",
        description="Trains a model with many settings, and writes those with the best validation "
        "metric as a configuration. The test events are not used.",
        epilog="python -m tfrec_attn.train --help lists the configurations of the package and all "
        "keys.",
    )
    parser.add_argument(
        "config",
        nargs="?",
        help="YAML file, or the name of a configuration of the package; its section search holds "
        "the values to try",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="section.key=value",
        help="values that override those of the file; search.section.key={choices: [a, b]}, "
        "{low: a, high: b, log: true} or {low: a, high: b, step: c} sets the values to try, and "
        "null removes the key from the search",
    )
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help=f"number of trials, those of an interrupted search included (default: {_TRIALS}, or "
        "no limit with --seconds)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="start no trial after all trials together took S seconds (default: no limit)",
    )
    parser.add_argument(
        "--to",
        type=path,
        metavar="DIR",
        help="folder to write (default: searches/<source>-<model>)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="seed of the proposals (default: 1)"
    )
    parser.add_argument(
        "--prune-after",
        type=int,
        default=5,
        metavar="N",
        help="end a trial after N epochs or more if its best validation metric is below the median "
        "of the completed trials, once there are five (default: 5)",
    )
    parser.add_argument("--no-pruning", action="store_true", help="complete every trial")
    parser.add_argument(
        "--restart", action="store_true", help="remove the search that the folder holds"
    )
    return parser


def _study(
    config: str | None, texts: list[str], parsed: argparse.Namespace, arguments: list[str]
) -> tuple[Search, list[str]]:
    """Returns the search that the arguments describe, and lines to print first."""
    require_at_least(1, parsed, "trials")
    require_at_least(0, parsed, "seed", "prune_after")
    if parsed.seconds is not None and parsed.seconds <= 0:
        raise ConfigError(f"--seconds must be greater than 0, but is {parsed.seconds:g}.")
    tree = read_config_file(config) if config is not None else {}
    ranges, others, notes = tree.pop(SEARCH, None), [], []
    ranges = {} if is_null(ranges) else ranges
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.startswith(_PREFIX) and isinstance(ranges, dict):
            ranges[name.removeprefix(_PREFIX)] = Plain(value)
        else:
            others.append(text)
    given = configuration.overlay(tree, others, models.recommended, notes.append, config)
    base = configuration.from_dict(given)
    unlimited = parsed.trials is None and parsed.seconds is None
    study = Search(
        config=base,
        given=given,
        ranges=ranges,
        command=shlex.join(["python", "-m", "tfrec_attn.search", *arguments]),
        to=parsed.to,
        trials=_TRIALS if unlimited else parsed.trials,
        seconds=parsed.seconds,
        seed=parsed.seed,
        prune_after=None if parsed.no_pruning else parsed.prune_after,
    )
    return study, [*notes, *settings_without_effect(base)]


if __name__ == "__main__":
    sys.exit(main())
