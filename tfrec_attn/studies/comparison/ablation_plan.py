"""The trainings of an ablation: a configuration with each value of the varied keys."""

import itertools
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.errors import ConfigError, shorten, shown
from tfrec_attn.evaluation.protocol import OF_THE_MODEL
from tfrec_attn.studies.comparison.comparison_plan import LogPlan, cells_of, check_overrides
from tfrec_attn.training.training_run import resolve

_OF_DATA = tuple(f"data.{key}" for key in OF_THE_MODEL)
_SECTIONS = ("model.", "train.", "prior.")
_MOST = 200


def parse_variation(text: str) -> tuple[str, list[str]]:
    """Returns the key and the values of a text such as `model.user_weight=0,0.2,...,1`.

    A value cannot hold a comma.

    Raises:
        ConfigError: If the text has another form, fewer than two values, or a value twice, or if
            trainings with other values of the key cannot be compared.
    """
    key, equals, values = text.partition("=")
    if not equals or "." not in key:
        raise ConfigError(f"--vary must be section.key=value,value,..., but is {shown(text)}.")
    if key == "train.seed":
        raise ConfigError("--vary cannot have train.seed; give the number of seeds with --seeds.")
    if key not in _OF_DATA and (not key.startswith(_SECTIONS) or key == "train.warm_start"):
        raise ConfigError(
            f"--vary cannot have {shorten(key)}, because figures could not be compared; vary a key "
            f"of model, train or prior, or {', '.join(_OF_DATA)}."
        )
    found = _expanded(key, [value.strip() for value in values.split(",")])
    doubled = next((one for one in found if found.count(one) > 1), None)
    if doubled is not None or len(found) < 2:
        problem = f"{shown(doubled)} twice" if doubled is not None else shown(values)
        raise ConfigError(
            f"--vary {key} must have two different values or more, but has {problem}."
        )
    return key, found


def _expanded(key: str, values: list[str]) -> list[str]:
    """Replaces `...` in the values by the numbers between its neighbours."""
    if "..." not in values:
        return values
    place = values.index("...")
    try:
        first, second = (Decimal(one) for one in values[place - 2 : place])
        (last,) = (Decimal(one) for one in values[place + 1 :])
        steps = (last - second) / (second - first)
        if not (steps == int(steps) and 0 < steps <= _MOST):
            raise ValueError
    except (ValueError, ArithmeticError, InvalidOperation):
        raise ConfigError(
            f"--vary {key} must have ... between two numbers and the last of a sequence of at most "
            f"{_MOST} with their distance, such as 0,0.2,...,1, but has {shown(','.join(values))}."
        ) from None
    between = [str(second + number * (second - first)) for number in range(1, int(steps))]
    return [*values[:place], *between, values[-1]]


def combinations(variations: dict[str, list[str]]) -> dict[str, dict[str, str]]:
    """Returns all combinations of values: name of the row -> key -> value.

    An example of a name is `user_weight=0.2 dim=50`. If two keys have the same last part, the name
    has the whole keys.
    """
    last = {key: key.rpartition(".")[2] for key in variations}
    names = {key: one if [*last.values()].count(one) == 1 else key for key, one in last.items()}
    found = {}
    for values in itertools.product(*variations.values()):
        point = dict(zip(variations, values, strict=True))
        found[" ".join(f"{names[key]}={value}" for key, value in point.items())] = point
    return found


def plan_ablation(
    source: str | None,
    variations: dict[str, list[str]],
    overrides: Sequence[str],
    seeds: int,
    to: Path,
) -> LogPlan:
    """Returns the trainings with all combinations of the values.

    If a row has the configuration's own values, the others are compared with it.

    Args:
        source: A YAML file, or the name of a configuration of the package; None for the defaults.
        variations: Key -> its values.
        overrides: `section.key=value` texts for all trainings.
        seeds: Number of seeds, 1, 2, ...
        to: Folder of the ablation.

    Raises:
        ConfigError: If there is no such configuration, if a key is unknown, if a value is not
            allowed, or if two values of a key are the same.
    """
    check_overrides(overrides, "train.seed", "run_dir")
    own, against = _resolved(source, overrides), None
    cells, rows = [], {}
    for row, point in combinations(variations).items():
        given = (f"{key}={value}" for key, value in point.items())
        config = _resolved(source, [*overrides, *given])
        against = row if config == own else against
        same = rows.setdefault(configuration.to_yaml(config), row)
        if same != row:
            raise ConfigError(f"--vary has the same values twice: {same} and {row}.")
        folder = to / row.replace("/", "-").replace(" ", ",")
        cells += cells_of(row, config, seeds, folder)
    return LogPlan(to.name, cells, {}, against=against, in_order=True)


def _resolved(source: str | None, overrides: Sequence[str]) -> Config:
    return resolve(configuration.load(source, overrides, models.recommended))
