"""The search space: the searched keys and their values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.config.coercion import coerce, describe, parse_flow
from tfrec_attn.config.yaml_tree import is_null
from tfrec_attn.errors import ConfigError, nearest, shorten
from tfrec_attn.evaluation.protocol import OF_THE_MODEL
from tfrec_attn.studies.search.value_ranges import Choices, Range, ValueRange
from tfrec_attn.training.settings import check_loss
from tfrec_attn.training.training_run import resolve

# Trials with other values of other keys of `data` could not be compared.
_OF_DATA = tuple(f"data.{key}" for key in OF_THE_MODEL)
_FIXED = ("model.name", "train.warm_start", "train.new_items")
_FORMS = "{choices: [a, b]} or {low: a, high: b}, with step or log if needed"


@dataclass(frozen=True)
class SearchSpace:
    """The searched keys and their values.

    Attributes:
        ranges: Key, such as `train.learning_rate`, -> its values, in alphabetical order.
    """

    ranges: dict[str, ValueRange]

    @classmethod
    def parse(cls, tree: Any, base: Config) -> "SearchSpace":
        """Returns the space of a section `search`.

        Args:
            tree: Key -> section with choices, or with low, high, step and log. A key with None is
                not searched.
            base: The configuration whose keys are searched. The values are checked with it.

        Raises:
            ConfigError: If the space is empty, if a key is unknown or cannot be searched, or if a
                value is not allowed.
        """
        tree = {} if is_null(tree) else parse_flow("search", tree)
        if not isinstance(tree, dict):
            raise ConfigError(f"search must be a section of keys, but is {describe(tree)}.")
        given = {key: value for key, value in tree.items() if not is_null(value)}
        if not given:
            raise ConfigError(
                "The search space is empty; give ranges in section search of the configuration, "
                "or as arguments such as 'search.train.learning_rate={low: 1e-4, high: 1e-2}'."
            )
        return cls({key: _parse(key, given[key], base) for key in sorted(given)})

    @property
    def size(self) -> float:
        """The number of points; infinite if a range of numbers has no step."""
        return math.prod(one.size for one in self.ranges.values())

    def values(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """Returns the values of the keys from the values that a sampler has drawn."""
        return {key: one.value(drawn[key]) for key, one in self.ranges.items()}

    def point_of(self, config: Config) -> dict[str, Any] | None:
        """Returns the values of the keys in a configuration, or None if one is not in the space."""
        point = {key: value_of(config, key) for key in self.ranges}
        return point if all(one.contains(point[key]) for key, one in self.ranges.items()) else None


def with_point(config: Config, point: dict[str, Any]) -> Config:
    """Returns the resolved configuration with the values of a point of the space.

    Raises:
        ConfigError: If a key is unknown, or if a value is not allowed.
    """
    return resolve(configuration.with_values(config, point))


def value_of(config: Config, key: str) -> Any:
    """Returns the value of a key, such as `train.epochs`, in a configuration."""
    value = configuration.to_dict(config)
    for name in key.split("."):
        value = value[name]
    return value


def _parse(key: str, spec: Any, base: Config) -> ValueRange:
    _check_searchable(key)
    name, spec = f"search.{shorten(key)}", parse_flow(f"search.{key}", spec)
    if not isinstance(spec, dict) or not ("choices" in spec or {"low", "high"} <= spec.keys()):
        raise ConfigError(f"{name} must be {_FORMS}, but is {describe(spec)}.")
    allowed = ("choices",) if "choices" in spec else ("low", "high", "step", "log")
    for field in spec:
        if field not in allowed:
            raise ConfigError(f"{name} has no {shorten(field)}{nearest(field, allowed)}: {_FORMS}.")

    def accepted(value: Any) -> Any:
        config = with_point(base, {key: value})
        if key == "train.loss":
            check_loss(config)
        return value_of(config, key)

    return _choices(name, spec, accepted) if "choices" in spec else _range(name, spec, accepted)


def _check_searchable(key: str) -> None:
    searchable = key in _OF_DATA or (key.startswith(("model.", "train.")) and key not in _FIXED)
    known = (one for one, _, _ in configuration.documented())
    if not searchable and any(f"{key}.".startswith(f"{one}.") for one in known):
        raise ConfigError(
            f"search.{key} cannot be searched, because trials with other values could not be "
            f"compared; search other keys of model and train, or {', '.join(_OF_DATA)}."
        )


def _choices(name: str, spec: dict[str, Any], accepted: Callable[[Any], Any]) -> Choices:
    given = spec["choices"]
    if not isinstance(given, list) or len(given) < 2:
        raise ConfigError(f"{name} must have two choices or more, but has {describe(given)}.")
    choices = [accepted(one) for one in given]
    for place, choice in enumerate(choices):
        if isinstance(choice, (list, dict)):
            raise ConfigError(
                f"{name} must have choices of numbers, texts, truth values or null, but has "
                f"{describe(choice)}."
            )
        if choice in choices[:place]:
            raise ConfigError(f"{name} must have different choices, but has {choice} twice.")
    return Choices(choices)


def _range(name: str, spec: dict[str, Any], accepted: Callable[[Any], Any]) -> Range:
    low, high = accepted(spec["low"]), accepted(spec["high"])
    if not all(type(one) in (int, float) for one in (low, high)):
        raise ConfigError(f"{name} must have choices, because its values are not numbers.")
    kind = float if float in (type(low), type(high)) else int
    low, high = kind(low), kind(high)
    if low >= high:
        raise ConfigError(
            f"{name} must have low less than high, but has low {low} and high {high}."
        )
    log, step = coerce(f"{name}.log", spec.get("log", False), bool), None
    if log and low <= 0:
        raise ConfigError(f"{name} must have low above 0, because log is true, but has low {low}.")
    if not is_null(spec.get("step")):
        step = coerce(f"{name}.step", spec["step"], kind)
        if log:
            raise ConfigError(f"{name} must have either step or log, but has both.")
        if not 0 < step <= high - low:
            raise ConfigError(
                f"{name} must have a step above 0 and at most high - low, {high - low:g}, "
                f"but has step {step}."
            )
        steps = (Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step))
        high = kind(Decimal(str(low)) + steps * Decimal(str(step)))
    return Range(low, high, step, log)
