"""Checks of the values of a configuration, beyond their types."""

import operator
import re

from tfrec_attn.config import loss_names
from tfrec_attn.errors import ConfigError, nearest, shorten, shown

_CHOICES = {
    "data.on_error": ("raise", "skip"),
    "data.ids": ("keep", "unify"),
    "data.missing_ids": ("keep", "drop"),
    "data.duplicates": ("keep", "drop"),
    "data.repeats": ("keep", "collapse"),
    "data.window": ("all", "full"),
    "data.split": ("leave-one-out", "temporal"),
    "data.cache": ("auto", "memory", "stream"),
    "train.schedule": ("constant", "linear", "cosine", "inverse_sqrt"),
    "train.sampling": ("uniform", "popularity"),
    "train.reduction": ("sum", "mean"),
    "train.softmax_precision": ("auto", "float32", "bfloat16"),
    "train.distillation.loss": ("cross_entropy", "squared_distance", "smoothing"),
    "train.new_items": ("mean", "neighbours"),
    "train.tracker": ("mlflow", "wandb", None),
    "evaluate.repeats": ("exclude", "include", None),
    "evaluate.targets": ("first", "last", "all", None),
    "runtime.strategy": ("default", "mirrored", "multi_worker"),
    "runtime.precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}
# Expected range, its test, and the keys by section. null passes every test.
_RANGES = (
    (
        "greater than 0",
        lambda value: value > 0,
        {
            "data": "events max_length targets session_gap",
            "train": "epochs batch_size accumulate learning_rate negatives patience clip_norm",
            "train.distillation": "layers",
            "prior": "span neighbours",
            "evaluate": "batch_size",
            "runtime": "steps_per_execution",
        },
    ),
    (
        "0 or greater",
        lambda value: value >= 0,
        {
            "data": "seed min_user_events min_item_events",
            "train": "margin l2 kernel_l2 seed warmup_steps final_learning_rate score_penalty",
            "train.distillation": "weight",
            "evaluate": "bootstrap",
            "runtime": "checkpoint_seconds",
        },
    ),
    (
        "greater than 0 and less than 1",
        lambda value: 0 < value < 1,
        {"data": "mask_share", "train": "ema"},
    ),
    (
        "from 0 to 1",
        lambda value: 0 <= value <= 1,
        {"data": "mask_last", "train": "sampling_power"},
    ),
    (
        "from 0 to 100",
        lambda value: 0 <= value <= 100,
        {"prior": "decay backward popularity_power"},
    ),
)
# TensorFlow counts in int32. A synthetic log must fit into memory.
_MAXIMUM = 2**31 - 1
_MAXIMA = {"data.events": 100_000_000, "data.seed": 2**63 - 1, "train.seed": 2**32 - 1}


def check(config) -> None:
    """Checks that the values of a `tfrec_attn.config.Config` are allowed and fit together.

    Raises:
        ConfigError: If a value is not allowed or conflicts with another. The message names the key.
    """
    values = {
        f"{section}.{key}": value
        for section in ("data", "train", "train.distillation", "prior", "evaluate", "runtime")
        for key, value in vars(operator.attrgetter(section)(config)).items()
    }
    for key, choices in _CHOICES.items():
        if values[key] not in choices:
            words = ["null" if choice is None else choice for choice in choices]
            raise ConfigError(
                f"{key} must be one of {', '.join(words)}, "
                f"but is {shown(values[key])}{nearest(values[key], words)}."
            )
    loss_names.check(config.train.loss)
    for expected, allowed, sections in _RANGES:
        keys = [f"{section}.{key}" for section, names in sections.items() for key in names.split()]
        for key in keys:
            if values[key] is not None and not allowed(values[key]):
                raise ConfigError(f"{key} must be {expected}, but is {values[key]}.")
    for key, value in values.items():
        maximum = _MAXIMA.get(key, _MAXIMUM)
        if type(value) is int and value > maximum:
            raise ConfigError(f"{key} must be at most {maximum}, but is {value}.")
    if config.evaluate.targets is not None and config.data.split != "temporal":
        raise ConfigError(
            f"evaluate.targets={config.evaluate.targets} chooses among the events after the limits "
            "of a temporal split; set data.split=temporal, or leave it out."
        )
    if "use_ema" in config.train.optimizer_options:
        raise ConfigError("train.optimizer_options must not have use_ema; set train.ema.")
    _check_event_filters(config.data)
    _check_prior(config.prior)
    _check_runtime(config.runtime)
    _check_metrics(config.evaluate)


def _check_prior(prior) -> None:
    # With a smaller epsilon, float32 cannot distinguish 1 + share / epsilon of two shares.
    for name, lowest, other in (
        ("weight", 0, ", a list of them or auto"),
        ("epsilon", 1e-9, " or a list of them"),
    ):
        value = getattr(prior, name)
        values = value if isinstance(value, list) else [value]
        if value != "auto" and not (values and all(lowest <= one <= 100 for one in values)):
            raise ConfigError(
                f"prior.{name} must be a number from {lowest} to 100{other}, but is {shown(value)}."
            )


def _check_metrics(evaluate) -> None:
    if not evaluate.k or min(evaluate.k) < 1 or max(evaluate.k) > _MAXIMUM:
        raise ConfigError(
            f"evaluate.k must be cut-offs from 1 to {_MAXIMUM}, but is {shown(evaluate.k)}."
        )
    metrics = ["MRR", *(f"{name}@{k}" for k in evaluate.k for name in ("HR", "NDCG"))]
    if evaluate.metric not in metrics:
        known = shorten(", ".join(metrics), 200)
        raise ConfigError(
            f"evaluate.metric must be one of {known} (see evaluate.k), "
            f"but is {shown(evaluate.metric)}."
        )


def _check_event_filters(data) -> None:
    typed = ((key, "event", "event types") for key in ("event_types", "event_weights"))
    for key, column, what in (("min_rating", "rating", "ratings"), *typed):
        if getattr(data, key) is not None and getattr(data.columns, column) is None:
            raise ConfigError(
                f"data.{key} needs data.columns.{column}, "
                f"the name of the column that holds the {what}."
            )
    if data.event_types is not None and not data.event_types:
        raise ConfigError(
            "data.event_types must name a type or more, but is empty; null keeps all types."
        )
    weights = [1.0] if data.event_weights is None else list(data.event_weights.values())
    if not any(weights) or any(weight and not 1e-6 <= weight <= 1e6 for weight in weights):
        raise ConfigError(
            "data.event_weights must be 0 or from 1e-6 to 1e6, one or more above 0, "
            f"but is {shown(data.event_weights)}."
        )
    if data.duplicates == "drop" and data.columns.timestamp is None:
        raise ConfigError(
            "data.duplicates=drop needs times, to distinguish copies from repeats, "
            "but data.columns.timestamp is null."
        )
    if data.session_gap is not None and data.columns.timestamp is None:
        raise ConfigError("data.session_gap needs times, but data.columns.timestamp is null.")


def _check_runtime(runtime) -> None:
    devices = runtime.devices
    if devices is None:
        return
    if runtime.strategy != "mirrored":
        raise ConfigError(
            f"runtime.devices is for runtime.strategy=mirrored, but it is {runtime.strategy}."
        )
    for name in devices:
        if not re.fullmatch(r"[CG]PU:\d{1,4}", name):
            raise ConfigError(
                f"runtime.devices must be names such as GPU:0 or CPU:1, but has {shown(name)}."
            )
    if not devices or len(set(devices)) < len(devices):
        raise ConfigError(
            f"runtime.devices must be one or more different devices, but is {shown(devices)}."
        )
