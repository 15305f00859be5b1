"""Training with early stopping, and the evaluation of what came out."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_attn import optimizers
from tfrec_attn.baselines import BASELINES
from tfrec_attn.callbacks import FiniteLoss, TrainingClock
from tfrec_attn.config import Config, nearest
from tfrec_attn.data.batches import HeldOut, NextItems, Windows
from tfrec_attn.data.splits import Split
from tfrec_attn.data.transitions import count_transitions
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.evaluation import block_size, bootstrap_intervals, held_out_ranks, summarise
from tfrec_attn.layers.transition_distillation import TransitionDistillation
from tfrec_attn.objectives import EVERY_POSITION
from tfrec_attn.run import BEST


def make_optimizer(config: Config):
    """The Keras optimizer of `train.optimizer`, `train.learning_rate` and `train.optimizer_options`."""
    name, options = config.train.optimizer, {"learning_rate": config.train.learning_rate, **config.train.optimizer_options}
    # Not tf.keras.optimizers.get: with a configuration that has keywords it gives the classes of tf.keras.optimizers.legacy.
    base = tf.keras.optimizers.Optimizer
    known = {key.lower(): cls for key, cls in vars(tf.keras.optimizers).items() if isinstance(cls, type) and issubclass(cls, base)}
    known = {**known, "adagrad": optimizers.Adagrad}
    del known["optimizer"]
    if name.lower() not in known:
        raise ConfigError(f"train.optimizer must be one of {', '.join(sorted(known))}, but is {name!r}{nearest(name.lower(), known)}.")
    try:
        return known[name.lower()](**options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"train.optimizer={name} with options {options} cannot be made: {str(error).splitlines()[0]}") from None


def held_out(config: Config, split: Split, part: str) -> HeldOut:
    """The held-out events of "valid" or "test" in blocks that fit."""
    size = block_size(split.sequences.num_items, config.evaluate.batch_size)
    return HeldOut(split, part, max_length=config.data.max_length, batch_size=size)


def training_stream(config: Config, split: Split) -> Windows | NextItems:
    """The training batches that `train.loss` wants."""
    data, train = config.data, config.train
    if train.loss in EVERY_POSITION:
        return NextItems(
            split,
            max_length=data.max_length,
            negatives=0 if train.loss == "softmax" else train.negatives,
            shared=train.loss == "sampled_softmax",
            popular=train.sampling == "popularity",
            batch_size=train.batch_size,
            seed=train.seed,
        )
    return Windows(
        split,
        max_length=data.max_length,
        targets=data.targets,
        negatives=train.negatives,
        shared=train.shared_negatives,
        batch_size=train.batch_size,
        seed=train.seed,
    )


def make_distillation(config: Config, split: Split) -> TransitionDistillation | None:
    """The layer of `train.distillation`, or None where its weight is 0."""
    distillation = config.train.distillation
    if not distillation.weight:
        return None
    try:
        transitions = count_transitions(split, distillation.time_span)
        if not len(transitions.neighbours):
            raise DataError("train.distillation needs a user with two training events in a row, but there is none; set its weight to 0.")
        return TransitionDistillation(transitions, distillation.temperature, distillation.dropout)
    except ValueError as error:
        raise ConfigError(f"train.distillation cannot be made: {error}") from None


def compile_model(model, config: Config, split: Split, stream: Windows | NextItems) -> None:
    """Compiles a model as the section `train` says, for the batches of a stream.

    Errors: ConfigError when the model cannot be trained so.
    """
    train = config.train
    # Collectives of one loop share their keys, and its iterations overlap: with several replicas, gradients of different steps would meet.
    alone = model.distribute_strategy.num_replicas_in_sync == 1
    optimizer, distillation = make_optimizer(config), make_distillation(config, split)
    try:
        model.compile(
            optimizer,
            train.loss,
            margin=train.margin,
            reduction=train.reduction,
            l2=train.l2,
            kernel_l2=train.kernel_l2,
            distillation=distillation,
            distillation_weight=train.distillation.weight,
            k=config.evaluate.k,
            log_q=getattr(stream, "log_q", None),
            calibration=train.calibration,
            steps_per_execution=min(config.runtime.steps_per_execution, stream.steps_per_epoch) if alone else 1,
        )
    except ValueError as error:
        raise ConfigError(f"train cannot be done with model.name={config.model.name}: {error}") from None


def fit(model, config: Config, split: Split, folder: Path) -> dict[str, float]:
    """Compiles and trains a model, leaves it with the weights of the best epoch, and writes checkpoint, history and events.

    Args:
      model: a `SequenceModel` for the split's users and items.
      config: sections train, evaluate and runtime count.
      split: what to train and validate on.
      folder: where `checkpoints/best`, `history.csv` and `tensorboard/` go.

    Returns: best_epoch, epochs, seconds_per_epoch, examples_per_second.
    """
    stream = training_stream(config, split)
    steps = stream.steps_per_epoch
    compile_model(model, config, split, stream)
    monitor = f"val_{config.evaluate.metric}"
    clock = TrainingClock()
    best = str(folder / BEST)
    history = model.fit(
        stream.dataset(),
        epochs=config.train.epochs,
        steps_per_epoch=steps,
        validation_data=held_out(config, split, "valid").dataset(),
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=[
            FiniteLoss(),
            clock,
            tf.keras.callbacks.ModelCheckpoint(best, monitor=monitor, mode="max", save_best_only=True, save_weights_only=True),
            tf.keras.callbacks.CSVLogger(str(folder / "history.csv")),
            tf.keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
            tf.keras.callbacks.EarlyStopping(monitor, mode="max", patience=config.train.patience),
        ],
    ).history
    model.load_weights(best).expect_partial()
    seconds = clock.steady_seconds()
    return {
        "best_epoch": int(np.argmax(history[monitor])) + 1,
        "epochs": len(history[monitor]),
        "seconds_per_epoch": seconds,
        "examples_per_second": steps * config.train.batch_size / seconds,
    }


def rank(ranker, config: Config, split: Split, part: str) -> np.ndarray:
    """Rank of every held-out event of "valid" or "test" by a model's `ranks` or a baseline."""
    return held_out_ranks(ranker, held_out(config, split, part))


def report(ranks: np.ndarray, config: Config, part: str) -> dict[str, dict]:
    """Metrics of one part, and their intervals when `evaluate.bootstrap` is not 0."""
    k, resamples = config.evaluate.k, config.evaluate.bootstrap
    metrics = {part: summarise(ranks, k)}
    return {**metrics, f"{part}_interval": bootstrap_intervals(ranks, k, resamples, config.train.seed)} if resamples else metrics


def evaluate_baselines(config: Config, split: Split, part: str = "test") -> dict[str, dict[str, float]]:
    """Metrics of most-popular and of last-item-transition."""
    return {name: summarise(rank(baseline(split), config, split, part), config.evaluate.k) for name, baseline in BASELINES.items()}
