"""Averages the scores of finished runs: `python -m tfrec_attn.average RUN RUN ... --to RUN`."""

import dataclasses
import sys
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.arguments import Arguments, is_override, path
from tfrec_attn.cli.terminal import format_table, reporting, write_line
from tfrec_attn.config import Config
from tfrec_attn.config.schema import Model
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs.run_files import load_config, load_metrics
from tfrec_attn.training.result_text import next_commands
from tfrec_attn.training.training_run import train

_MODEL = "tfrec_attn.studies.average:Average"


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 2 for runs that cannot be averaged; 1 if the run cannot be written; 130 after SIGINT and
        143 after SIGTERM.
    """
    parser = Arguments(
        prog="python -m tfrec_attn.average",
        description="Makes a run whose model averages the scores of finished runs, and evaluates "
        "it. The new run is exported and served as one model. Data, evaluation and prior are those "
        "of the first run. With a single run, the command can change the prior.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="finished runs, and values of the new one such as prior.weight=auto",
    )
    parser.add_argument(
        "--weights",
        help="weight of each run, separated by commas (default: 1 / number of runs)",
    )
    parser.add_argument("--to", required=True, type=path, metavar="RUN", help="the new run")
    parser.add_argument("--restart", action="store_true", help="replace a finished or partial run")
    parsed = parser.parse_intermixed_args(arguments)
    runs = [Path(one).expanduser() for one in parsed.runs if not is_override(one)]
    tree = configuration.to_dict(config_of(runs, parsed.weights, parsed.to))
    overrides = filter(is_override, parsed.runs)
    config = configuration.from_dict(configuration.overlay(tree, overrides))
    folder = train(config, restart=parsed.restart)
    if folder is not None:
        write_line(f"\n{beside_its_runs(folder, runs)}\n{next_commands(config, folder)}")
    return 0


def beside_its_runs(folder: Path, runs: list[Path]) -> str:
    """Returns the validation metrics of an average and of its runs, and whether one is better."""
    average, metric = load_metrics(folder), load_config(folder).evaluate.metric
    found = {run: load_metrics(run) for run in runs}
    # Metrics of another protocol, such as other cut-offs, cannot be compared.
    rows = {
        str(run): one["valid"]
        for run, one in found.items()
        if one["protocol"]["hash"] == average["protocol"]["hash"]
    }
    best = max(rows, key=lambda run: rows[run][metric], default=None)
    text = format_table("validation", {**rows, str(folder): average["valid"]})
    if best is None or rows[best][metric] <= average["valid"][metric]:
        return text
    return (
        f"{text}\n\n{best} alone has a better {metric} on the validation events; give it more "
        "weight with --weights, or leave out other runs."
    )


def config_of(runs: list[Path], weights: str | None, folder: str) -> Config:
    """Returns the configuration of an average.

    Args:
        runs: The runs.
        weights: Their weights, separated by commas. None: equal weights with the sum 1.
        folder: Folder of the average.

    Raises:
        ConfigError: If there are no runs, if a run cannot be averaged, if the runs were trained on
            different events, if the weights are not one number above 0 for each run, or if the
            folder is one of the runs.
    """
    if not runs:
        raise ConfigError("An average needs runs, but has only keys; name the folders of runs.")
    factors, configs = _factors(weights, len(runs)), [load_config(run) for run in runs]
    members = [
        _member(run, config, factor)
        for run, config, factor in zip(runs, configs, factors, strict=True)
    ]
    if Path(folder).resolve() in {run.resolve() for run in runs}:
        raise ConfigError(
            f"--to {folder} is one of the runs, which the average needs to be made again; name "
            "another folder."
        )
    _check_same_events(runs)
    longest = max(member["max_length"] for member in members)
    # The vocabularies of a run with a warm start begin with those of the run it starts from.
    continues = any(config.train.warm_start is not None for config in configs)
    known = str(runs[0].resolve()) if continues else None
    return dataclasses.replace(
        configs[0],
        data=dataclasses.replace(configs[0].data, max_length=longest),
        model=Model(_MODEL, {"members": members}),
        train=dataclasses.replace(configs[0].train, warm_start=known),
        run_dir=folder,
    )


def _check_same_events(runs: list[Path]) -> None:
    sums = [load_metrics(run)["data"].get("sha256") for run in runs]
    for run, checksum in zip(runs, sums, strict=True):
        if checksum is None:
            raise ConfigError(f"{run} has no checksum of its events in metrics.json; train again.")
        if checksum != sums[0]:
            raise ConfigError(
                f"{run} was trained on other events than {runs[0]}; average runs of the same log."
            )


def _factors(weights: str | None, count: int) -> list[float]:
    if weights is None:
        return [1.0 / count] * count
    try:
        found = [float(one) for one in weights.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not all(0 < one < float("inf") for one in found):
        raise ConfigError(
            f"--weights must be a number above 0 for each of the {count} runs, with commas, but is "
            f"{weights}."
        )
    return found


def _member(run: Path, config: Config, weight: float) -> dict:
    name, parameters = config.model.name, config.model.parameters
    if models.joins_runs(name):
        raise ConfigError(
            f"{run} cannot be averaged, because it is an average itself; name its runs, with the "
            "products of their weights."
        )
    if models.trains_on(name) == models.COUNTS:
        raise ConfigError(
            f"{run} cannot be averaged, because {name} only counts; add the counts of transitions "
            "with prior.weight=auto instead."
        )
    if key := models.gap_key(name, parameters):
        raise ConfigError(
            f"{run} cannot be averaged, because its model needs times between events; train it "
            f"with {key}=null."
        )
    return {
        "run": str(run.resolve()),
        "name": name,
        "max_length": config.data.max_length,
        "weight": weight,
        "parameters": parameters,
    }


if __name__ == "__main__":
    sys.exit(main())
