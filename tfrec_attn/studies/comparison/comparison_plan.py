"""The trainings of a comparison: each model on each log with each seed."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.config.config_files import packaged, read_config_file
from tfrec_attn.config.loading import SEARCH, with_values
from tfrec_attn.data.shards.prepared_log import is_folder
from tfrec_attn.errors import ConfigError, nearest, shown
from tfrec_attn.evaluation.protocol import OF_THE_MODEL

_OTHER_KEYS = (*OF_THE_MODEL, "cache")
# Name of a split -> evaluate.targets.
_TEMPORAL = {"temporal": None, "temporal-last": "last", "temporal-all": "all"}
SPLITS = ("leave-one-out", *_TEMPORAL)
_LIMITS = {"valid_from": 0.8, "test_from": 0.9}


class Cell(NamedTuple):
    """One training.

    Attributes:
        model: Name of its row.
        seed: Its seed.
        config: Its configuration, with `run_dir`.
    """

    model: str
    seed: int
    config: Config

    @property
    def folder(self) -> Path:
        """The run directory."""
        return Path(self.config.run_dir)


@dataclasses.dataclass(frozen=True)
class LogPlan:
    """The trainings on one log, and how their table is made.

    Attributes:
        name: Name of the log.
        cells: The trainings. Those of a row follow each other.
        left_out: Row that is not trained -> reason, such as the first key of another log.
        ranges: Row -> section `search` of its configuration, if it has one.
        note: A sentence for the caption of the table, or "" (default).
        metric: Metric of the differences. None (default): NDCG@10, or `evaluate.metric` if the runs
            do not have NDCG@10.
        against: The row that all others are compared with, as for `compare_rows`.
        slices: Whether the table has the metric for slices of the test events.
        in_order: If True, the rows are those of the plan, in its order. If False (default), the
            rows are sorted by the metric, a model with a prior also has a row without the prior,
            and a better baseline that is not a row is named.
    """

    name: str
    cells: list[Cell]
    left_out: dict[str, str]
    ranges: dict[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""
    metric: str | None = None
    against: str | None = None
    slices: bool = False
    in_order: bool = False


def plan_log(
    source: str,
    rows: Sequence[str] | None,
    overrides: Sequence[str],
    seeds: int,
    to: Path,
    with_prior: bool = False,
    split: str | None = None,
) -> LogPlan:
    """Returns the trainings on the log of a configuration, or of a folder of configurations.

    Each configuration of a folder is a row. A model without a configuration takes its recommended
    settings. If `source` is a single configuration, all other models do so. All rows are evaluated
    at the same cut-offs: `evaluate.k` is the union of the cut-offs in the folder.

    Args:
        source: A YAML file, a folder of YAML files, or a name of the package, such as
            `beauty/sasrec` or `beauty`.
        rows: Names of configurations of the folder, or of models. None: all configurations of the
            folder, or all models of the package.
        overrides: `section.key=value` texts for all trainings.
        seeds: Number of seeds, 1, 2, ...; a model that only counts has one.
        to: Folder of the comparison.
        with_prior: Whether a trained model without a prior gets a prior of item transitions.
        split: One of `SPLITS`, which becomes a part of the log's name. A temporal split has the
            limits of the configurations, or 0.8 and 0.9. None (default): the split of the
            configurations.

    Raises:
        ConfigError: If there is no such configuration or model, or if a key is wrong.
    """
    check_overrides(overrides, "model.name", "train.seed", "run_dir")
    files = _configurations_in(source)
    configs = {
        row: configuration.load(path, overrides, models.recommended) for row, path in files.items()
    }
    shared = (
        _usual_log(configs) if files else configuration.load(source, overrides, models.recommended)
    )
    left_out = {}
    for row, config in configs.items():
        if difference := _difference(config, shared):
            left_out[row] = difference
    chosen = rows
    if rows is None:
        chosen = [row for row in configs if row not in left_out] if files else models.names()
    found = {}
    for row in dict.fromkeys(chosen):
        if row in left_out:
            raise ConfigError(f"{source}/{row} is of another log than the others: {left_out[row]}.")
        found[row] = (
            configs[row] if row in configs else _of_model(row, source, files, shared, overrides)
        )
    name = log_name(source)
    if split is not None:
        name = f"{name}-{split}"
        found = {row: _with_split(config, split) for row, config in found.items()}
    # The cut-offs of all rows of the folder, so that a row can be added to finished runs later.
    together = [*found.values(), *(configs[row] for row in configs if row not in left_out)]
    cutoffs = sorted({k for config in together for k in config.evaluate.k})
    cells = []
    for row, config in found.items():
        config = with_values(config, {"evaluate.k": cutoffs})
        cells += cells_of(row, config, seeds, to / name / row, with_prior)
    sources = files or ({shared.model.name: source} if Path(source).is_file() else {})
    ranges = {
        row: tree[SEARCH]
        for row in found
        if row in sources and SEARCH in (tree := read_config_file(sources[row]))
    }
    return LogPlan(name, cells, {} if rows else left_out, ranges)


def cells_of(
    row: str, config: Config, seeds: int, folder: Path, with_prior: bool = False
) -> list[Cell]:
    """Returns the trainings of a row, one for each seed."""
    values: dict[str, Any] = {}
    counts = models.trains_on(config.model.name) == models.COUNTS
    if counts:
        values["prior.weight"] = 0.0
    elif with_prior and not configuration.has_prior(config):
        values["prior.weight"] = "auto"
    cells = []
    for seed in range(1, 2 if counts else seeds + 1):
        own = {**values, "train.seed": seed, "run_dir": str(folder / f"seed-{seed}")}
        cells.append(Cell(row, seed, with_values(config, own)))
    return cells


def log_name(source: str) -> str:
    """Returns the name of a log: the name of its file, its folder or its packaged configuration."""
    path = Path(source)
    name = path.resolve().name if path.exists() else source.rstrip("/").replace("/", "-")
    return name.removesuffix(".yaml")


def _with_split(config: Config, split: str) -> Config:
    if is_folder(config.data.source):
        raise ConfigError(
            "--splits needs a log, but data.source is a prepared folder, which has its split; give "
            "the log itself."
        )
    targets, limits = _TEMPORAL.get(split), dict.fromkeys(_LIMITS)
    if split in _TEMPORAL:
        limits = {
            key: default if getattr(config.data, key) is None else getattr(config.data, key)
            for key, default in _LIMITS.items()
        }
    return with_values(
        config,
        {
            "evaluate.targets": targets,
            "data.split": "temporal" if split in _TEMPORAL else split,
            **{f"data.{key}": value for key, value in limits.items()},
        },
    )


def check_overrides(overrides: Sequence[str], *refused: str) -> None:
    """Raises ConfigError if an override sets a key that the command itself sets."""
    options = {"model.name": "--models", "train.seed": "--seeds", "run_dir": "--to"}
    for text in overrides:
        key = text.partition("=")[0]
        if key in refused:
            raise ConfigError(f"{key} cannot be set for all trainings; use {options[key]}.")


def _configurations_in(source: str) -> dict[str, str]:
    """Returns the configurations of a folder, name -> path; empty if there is no folder."""
    found = [path for path in sorted(Path(source).glob("*.yaml")) if path.name[0] != "."]
    prefix = f"{source.rstrip('/')}/"
    files = {path.stem: str(path) for path in found} or {
        name.removeprefix(prefix): name for name in packaged() if name.startswith(prefix)
    }
    if not files and Path(source).is_dir():
        raise ConfigError(f"{shown(source)} has no configurations, files that end with .yaml.")
    return files


def _of_model(
    row: str, source: str, files: dict[str, str], shared: Config, overrides: Sequence[str]
) -> Config:
    """Returns the configuration of a model with its recommended settings."""
    if files and ":" not in row and row not in models.names():
        choices = [*files, *models.names()]
        raise ConfigError(
            f"{shown(row)} is neither a configuration of {source}, {', '.join(files)}, nor a "
            f"model{nearest(row, choices)}."
        )
    models.parameters(row)
    if not files and row == shared.model.name:
        return shared
    data = configuration.to_dict(shared)
    for key in _OTHER_KEYS:
        del data["data"][key]
    tree = {
        "data": data["data"],
        "evaluate": data["evaluate"],
        "runtime": data["runtime"],
        "prior": data["prior"],
        "model": {"name": row},
    }
    return configuration.from_dict(configuration.overlay(tree, overrides, models.recommended))


def _log_of(config: Config) -> dict[str, Any]:
    """Returns the keys that decide which events are ranked, and among which items."""
    tree = dataclasses.asdict(config.data)
    found = {f"data.{key}": value for key, value in tree.items() if key not in _OTHER_KEYS}
    if config.data.path is not None:
        found["data.path"] = os.path.abspath(config.data.path)
    return {**found, "evaluate.repeats": config.evaluate.repeats}


def _usual_log(configs: dict[str, Config]) -> Config:
    """Returns a configuration with the log that most configurations have."""
    logs = {row: repr(_log_of(config)) for row, config in configs.items()}
    usual = Counter(logs.values()).most_common(1)[0][0]
    return next(configs[row] for row, log in logs.items() if log == usual)


def _difference(config: Config, usual: Config) -> str:
    """Returns the first key in which two logs differ, in words, or ""."""
    here, there = _log_of(config), _log_of(usual)
    key = next((one for one in here if here[one] != there[one]), None)
    return "" if key is None else f"{key} is {shown(here[key])}, not {shown(there[key])}"
