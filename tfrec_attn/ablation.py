"""Varies keys of a configuration: `python -m tfrec_attn.ablation CONFIG --vary KEY=A,B,...`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from tfrec_attn.cli.arguments import Arguments, add_trainings, path, require_at_least, split_config
from tfrec_attn.cli.terminal import reporting, write_line
from tfrec_attn.config.config_files import packaged_studies
from tfrec_attn.errors import ConfigError
from tfrec_attn.studies.comparison.ablation import ablate
from tfrec_attn.studies.comparison.ablation_plan import parse_variation
from tfrec_attn.studies.comparison.comparison_plan import log_name
from tfrec_attn.studies.comparison.comparison_run import RESULTS
from tfrec_attn.studies.comparison.study_file import Study, read_study


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for a configuration, a key, a value or a folder that cannot be used; 1 if nothing could
        be trained; 130 after SIGINT and 143 after SIGTERM.
    """
    parsed = _parser().parse_intermixed_args(arguments)
    config, overrides = split_config(parsed.config, parsed.overrides)
    require_at_least(1, parsed, "seeds", "jobs")
    study = read_study(config)
    variations = _variations(config, study, parsed.vary)
    name = _name(config, () if study else variations)
    folder = ablate(
        study.config if study else config,
        variations,
        overrides,
        Path(parsed.to or Path("ablations") / name),
        seeds=parsed.seeds,
        jobs=parsed.jobs,
        metric=parsed.metric,
        slices=parsed.slices,
    )
    write_line(f"Wrote {folder / RESULTS}.txt, .md, .tex, .csv and .json")
    return 0


def _variations(
    config: str | None, study: Study | None, given: list[str] | None
) -> dict[str, list[str]]:
    """Returns the keys that vary and their values, from the study or from `--vary`."""
    if study and given:
        raise ConfigError(
            f"{config} has its own keys to vary; leave out --vary, or name {study.config}."
        )
    texts = study.vary if study else given
    if not texts:
        raise ConfigError(
            "--vary must name a key and its values, unless a study is given, such as "
            f"{', '.join(packaged_studies())}."
        )
    variations: dict[str, list[str]] = {}
    for text in texts:
        try:
            key, values = parse_variation(text)
        except ConfigError as error:
            where = f"vary of {config}" if study else "--vary"
            raise ConfigError(str(error).replace("--vary", where, 1)) from None
        if key in variations:
            raise ConfigError(f"--vary must have each key once, but has {key} twice.")
        variations[key] = values
    return variations


def _name(config: str | None, keys: Iterable[str]) -> str:
    """Returns a name such as shop-user_weight."""
    name = "defaults" if config is None else log_name(config.removeprefix("studies/"))
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
        "config",
        nargs="?",
        help="YAML file, or the name of a configuration or a study of the package, such as "
        "beauty/sasrec or studies/attrec-dim",
    )
    parser.add_argument(
        "--vary",
        action="append",
        metavar="section.key=A,B,...",
        help="key of model, train or prior with its values, which have no commas; 0,0.2,...,1 is "
        "0, 0.2, 0.4 and so on; several keys: all combinations; a study has its own",
    )
    add_trainings(parser)
    parser.add_argument(
        "--to",
        type=path,
        metavar="DIR",
        help="folder to write (default: ablations/CONFIG-KEY, or ablations/STUDY)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
