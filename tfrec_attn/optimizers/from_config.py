"""The optimizer that a configuration names."""

import inspect

import tensorflow as tf

from tfrec_attn.config import Config
from tfrec_attn.errors import ConfigError, nearest, with_keys
from tfrec_attn.optimizers.adagrad import Adagrad
from tfrec_attn.optimizers.adam import Adam
from tfrec_attn.optimizers.lazy_adam import LazyAdam
from tfrec_attn.optimizers.schedules import WarmUp


def make_optimizer(
    config: Config, steps_per_epoch: int, first_step: int = 0
) -> tf.keras.optimizers.Optimizer:
    """Returns the Keras optimizer of `train.optimizer`, its options and its learning rate.

    Args:
        config: Configuration of a run.
        steps_per_epoch: Steps of an epoch; a schedule has `train.epochs` epochs.
        first_step: Initial value of the step counter, for a warm start. Default 0.

    Raises:
        ConfigError: If the optimizer is unknown or does not take its options, or if the warm-up
            is longer than the training.
    """
    train = config.train
    # tf.keras.optimizers.get with a configuration returns classes of tf.keras.optimizers.legacy.
    base = tf.keras.optimizers.Optimizer
    known = {
        key.lower(): cls
        for key, cls in vars(tf.keras.optimizers).items()
        if isinstance(cls, type) and issubclass(cls, base) and cls is not base
        # Optimizers of Keras 3 that wrap another one have no learning rate.
        if "learning_rate" in inspect.signature(cls).parameters
    }
    known = {**known, "adagrad": Adagrad, "adam": Adam, "lazy_adam": LazyAdam}
    name = train.optimizer.lower()
    if name not in known:
        raise ConfigError(
            f"train.optimizer must be one of {', '.join(sorted(known))}, "
            f"but is {train.optimizer!r}{nearest(name, known)}."
        )
    options = {
        "learning_rate": _learning_rate(config, steps_per_epoch, first_step),
        **train.optimizer_options,
    }
    average = {} if train.ema is None else {"use_ema": True, "ema_momentum": train.ema}
    try:
        optimizer = known[name](**options, **average)
    except (ValueError, TypeError) as error:
        shown = {
            **options,
            "learning_rate": train.optimizer_options.get("learning_rate", train.learning_rate),
        }
        keys = {key: f"train.optimizer_options.{key}" for key in train.optimizer_options}
        keys = {"learning_rate": "train.learning_rate", "ema_momentum": "train.ema", **keys}
        raise ConfigError(
            f"train.optimizer={train.optimizer} with options {shown} cannot be made: "
            f"{with_keys(str(error).splitlines()[0], keys)}"
        ) from None
    # At the end of `fit` Keras would replace the weights by their averages.
    optimizer.finalize_variable_values = lambda variables: None
    return optimizer


def _learning_rate(config: Config, steps_per_epoch: int, first_step: int) -> float | WarmUp:
    train, total = config.train, config.train.epochs * steps_per_epoch
    if train.warmup_steps > total:
        raise ConfigError(
            f"train.warmup_steps must be at most the steps of training, {total} ({train.epochs} "
            f"epochs of {steps_per_epoch}), but is {train.warmup_steps}."
        )
    if train.schedule == "constant" and not train.warmup_steps:
        return train.learning_rate
    return WarmUp(
        train.learning_rate,
        train.schedule,
        train.warmup_steps,
        total,
        train.final_learning_rate,
        first_step,
    )
