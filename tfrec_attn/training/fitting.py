"""Training with early stopping, and the evaluation of what came out."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_attn import models
from tfrec_attn.cli.terminal import say
from tfrec_attn.config import Config, loss_names
from tfrec_attn.data.batches.positions import MaskedItems, NextItems
from tfrec_attn.data.batches.streamed import (
    StreamedHeldOut,
    StreamedMaskedItems,
    StreamedNextItems,
    StreamedWindows,
)
from tfrec_attn.data.batches.windows import HeldOut, Stream, Windows, window_counts
from tfrec_attn.data.sequences.replay_log import item_counts
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.trained_rows import TrainedRows
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.evaluation.baselines import BASELINES
from tfrec_attn.evaluation.held_out import (
    block_size,
    bootstrap_intervals,
    held_out_ranks,
    summarise,
)
from tfrec_attn.evaluation.protocol import Repeats, choose_repeats
from tfrec_attn.layers.transition_distillation import TransitionDistillation
from tfrec_attn.optimizers import make_optimizer
from tfrec_attn.runtime.distribution import from_first, training_input
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.training.callbacks import (
    EarlyStop,
    EpochOnly,
    FiniteLoss,
    Recorder,
    Saver,
    Session,
    TrainingClock,
)
from tfrec_attn.training.checkpoints import Checkpoints
from tfrec_attn.training.diagnostics import Health
from tfrec_attn.training.progress import Progress

# Kind of batches -> its stream of a log in memory, and of one that is streamed.
_STREAMS = {
    "windows": (Windows, StreamedWindows),
    "next_items": (NextItems, StreamedNextItems),
    "masked_items": (MaskedItems, StreamedMaskedItems),
}


def held_out(config: Config, split: Split, part: str) -> HeldOut:
    """The held-out events of "valid" or "test" in blocks that fit.

    Their histories are so long that they have the latest `data.max_length` events of items that
    training touches, wherever a model passes over others.
    """
    size = block_size(split.sequences.num_items, config.evaluate.batch_size)
    kind = StreamedHeldOut if isinstance(split, ShardedSplit) else HeldOut
    length = config.data.max_length + _may_be_passed_over(split, part)
    return kind(
        split,
        part,
        max_length=length,
        batch_size=size,
        repeats=config.evaluate.repeats or "exclude",
    )


def _may_be_passed_over(split: Split, part: str) -> int:
    """The most events of a history that may be of items that training does not touch: those after
    its user's training events.
    """
    if (item_counts(split) > 0).all():
        return 0
    positions = getattr(split, part)
    return int((positions - split.train_end[split.rows(positions)]).max(initial=0))


def trained_rows(config: Config, split: Split) -> TrainedRows:
    """Returns which users and items the training touches: those in its examples."""
    data, events = config.data, split.train_end - split.sequences.offsets[:-1]
    if models.get(config.model.name).trains_on == "windows":
        users = window_counts(events, data.max_length, data.targets, data.window)[0] > 0
    else:
        users = events >= 2
    return TrainedRows(users, item_counts(split) > 0)


def with_repeats(config: Config, split: Split) -> tuple[Config, Repeats]:
    """Returns the configuration with `evaluate.repeats` set, and what was chosen and why."""
    valid, test = (held_out(config, split, part).repeated() for part in ("valid", "test"))
    repeats = choose_repeats(config.evaluate.repeats, valid, test)
    return replace(config, evaluate=replace(config.evaluate, repeats=repeats.rule)), repeats


def training_stream(config: Config, split: Split) -> Stream:
    """Returns the training batches that the model trains on.

    Raises:
        ConfigError: If they cannot be made of so few items.
        DataError: If no user has two training events.
    """
    data, train = config.data, config.train
    trains_on, negatives = (
        models.get(config.model.name).trains_on,
        loss_names.get(train.loss).negatives,
    )
    common = {
        "max_length": data.max_length,
        "batch_size": train.batch_size * train.accumulate,
        "seed": train.seed,
    }
    if trains_on == "windows":
        options = {
            "targets": data.targets,
            "negatives": train.negatives,
            "shared": train.shared_negatives,
            "window": data.window,
        }
    else:
        options = {
            "negatives": 0 if negatives == "none" else train.negatives,
            "shared": negatives == "shared",
            "popular": train.sampling == "popularity",
        }
    if trains_on == "masked_items":
        options |= {"mask_share": data.mask_share, "last_share": data.mask_last}
    in_memory, streamed = _STREAMS[trains_on]
    try:
        return (streamed if isinstance(split, ShardedSplit) else in_memory)(
            split, **options, **common
        )
    except ConfigError as error:
        raise ConfigError(f"train.{error}") from None
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}, or lower data.min_user_events.") from None


def make_distillation(config: Config, split: Split) -> TransitionDistillation | None:
    """The layer of `train.distillation`, or None where its weight is 0."""
    distillation = config.train.distillation
    if not distillation.weight:
        return None
    try:
        max_length = config.data.max_length if distillation.latest else None
        transitions = count_transitions(split, distillation.time_span, max_length)
        if not len(transitions.neighbours):
            raise DataError(
                "train.distillation needs a user with two training events in a row, but there is none; set its weight to 0."
            )
        return TransitionDistillation(transitions, distillation.temperature, distillation.dropout)
    except ValueError as error:
        raise ConfigError(f"train.distillation cannot be made: {error}") from None


def compile_model(model, config: Config, split: Split, stream: Stream, first_step: int = 0) -> None:
    """Compiles a model as the section `train` says, for the batches of a stream; its step counter
    will begin at `first_step`.

    Errors: ConfigError when the model cannot be trained so.
    """
    train = config.train
    loss_names.try_out(train.loss)
    # Collectives of one loop share their keys, and its iterations overlap: with several replicas,
    # gradients of different steps would meet.
    alone = model.distribute_strategy.num_replicas_in_sync == 1
    optimizer, distillation = (
        make_optimizer(config, stream.steps_per_epoch, first_step),
        make_distillation(config, split),
    )
    try:
        model.compile(
            optimizer,
            loss_names.get(train.loss),
            margin=train.margin,
            reduction=train.reduction,
            l2=train.l2,
            kernel_l2=train.kernel_l2,
            distillation=distillation,
            distillation_weight=train.distillation.weight,
            k=config.evaluate.k,
            seed=train.seed,
            log_q=getattr(stream, "log_q", None),
            calibration=train.calibration,
            clip_norm=train.clip_norm,
            accumulate=train.accumulate,
            steps_per_execution=min(config.runtime.steps_per_execution, stream.steps_per_epoch)
            if alone
            else 1,
        )
    except ValueError as error:
        raise ConfigError(
            f"train cannot be done with model.name={config.model.name}: {error}"
        ) from None


def fit(
    model, config: Config, split: Split, folder: Path, warm=None, stop: StopSignals | None = None
) -> dict[str, float]:
    """Compiles and trains a model, leaves it with the weights of the best epoch, and writes
    checkpoints, history and events.

    A training that was interrupted goes on from the newest state in the folder.

    Args:
      model: a `SequenceModel` for the split's users and items.
      config: sections train, evaluate and runtime count.
      split: what to train and validate on.
      folder: where `checkpoints/`, `history.csv` and `tensorboard/` go.
      warm: the `WarmStart` whose weights the model has and whose slots its optimizer gets, or None.
      stop: asked after each step whether to stop; None: never.

    Returns: best_epoch, epochs, seconds_per_epoch, examples_per_second, and earlier_seconds, of the
    processes before this one.

    Errors: TrainingError when loss or weights are not finite, or the folder cannot be written;
    Interrupted as `stop` says.
    """
    stream = training_stream(config, split)
    compile_model(model, config, split, stream, warm.first_step if warm else 0)
    if warm:
        warm.take_slots(model)
    checkpoints = Checkpoints(folder)
    progress = _go_on(model, checkpoints, stream.steps_per_epoch)
    earlier = progress.train_seconds
    _train(model, config, split, stream, progress, checkpoints, stop or StopSignals())
    checkpoints.finish(model)
    seconds = progress.steady_seconds()
    return {
        "best_epoch": progress.best_epoch(config.evaluate.metric) + 1,
        "epochs": progress.epoch,
        "seconds_per_epoch": seconds,
        "examples_per_second": stream.steps_per_epoch * stream.batch_size / seconds,
        "earlier_seconds": earlier,
    }


def _go_on(model, checkpoints: Checkpoints, steps: int) -> Progress:
    """The progress of the newest whole state, with which the model goes on, or that of a beginning."""
    found = checkpoints.any()
    progress = checkpoints.restore(model, say)
    if progress is not None:
        say(
            f"Going on from {checkpoints.folder}: {progress.epoch} epochs and {progress.step} of {steps} steps are done."
        )
    elif found:
        say("No checkpoint is whole: training starts again.")
    if isinstance(model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
        model.optimizer.build(model.trainable_variables)
        variables = [*model.trainable_variables, *model.optimizer.variables]
        text = from_first(model.distribute_strategy, variables, progress and progress.to_json())
        progress = Progress.from_json(text) if text else None
    return progress or Progress()


def _train(
    model,
    config: Config,
    split: Split,
    stream,
    progress: Progress,
    checkpoints: Checkpoints,
    stop: StopSignals,
) -> None:
    """Trains until the progress is over: what is left of an interrupted epoch first, then the
    others.
    """
    epochs, steps = config.train.epochs, stream.steps_per_epoch
    limits = {"epochs": epochs, "metric": config.evaluate.metric, "patience": config.train.patience}
    if progress.is_over(**limits):
        return
    held = held_out(config, split, "valid")
    saver = Saver(checkpoints, progress, config, steps=steps, stop=stop, advice=_advice(config))
    if config.runtime.strategy == "multi_worker":
        saver = EpochOnly(saver, steps)
    callbacks = [
        FiniteLoss(_advice(config)),
        TrainingClock(progress),
        tf.keras.callbacks.ProgbarLogger("steps"),
        Recorder(checkpoints.folder, progress, Health(model, held), say),
        saver,
        EarlyStop(progress, **limits),
    ]
    with (
        stop.deferred(),
        Session(
            callbacks, model, verbose=1 if sys.stdout.isatty() else 2, epochs=epochs, steps=steps
        ) as session,
    ):
        for last in [progress.epoch + 1, epochs] if progress.step else [epochs]:
            if not progress.is_over(**limits):
                session.first_step = progress.step
                model.fit(
                    training_input(
                        stream, model.distribute_strategy, progress.epoch * steps + progress.step
                    ),
                    initial_epoch=progress.epoch,
                    epochs=last,
                    steps_per_epoch=steps - progress.step,
                    callbacks=session,
                    validation_data=held.dataset(),
                )


def _advice(config: Config) -> str:
    """What is likely to help a training whose numbers are not finite."""
    train = config.train
    advice = ["lower train.learning_rate"]
    if config.runtime.precision == "mixed_float16":
        advice.insert(
            0, "set runtime.precision to mixed_bfloat16, which does not overflow at 65504"
        )
    if train.clip_norm is None:
        advice.append("set train.clip_norm")
    if config.model.parameters.get("max_norm", 0) is None:
        advice.append("set model.max_norm")
    if train.distillation.weight and train.distillation.temperature < 0.05:
        advice.append("raise train.distillation.temperature")
    return f"{', '.join(advice[:-1])} or {advice[-1]}" if len(advice) > 1 else advice[0]


def rank(ranker, config: Config, split: Split, part: str) -> np.ndarray:
    """Rank of every held-out event of "valid" or "test" by a model's `ranks` or a baseline."""
    return held_out_ranks(ranker, held_out(config, split, part))


def report(ranks: np.ndarray, config: Config, part: str) -> dict[str, dict]:
    """Metrics of one part, and their intervals when `evaluate.bootstrap` is not 0."""
    k, resamples = config.evaluate.k, config.evaluate.bootstrap
    metrics = {part: summarise(ranks, k)}
    return (
        {**metrics, f"{part}_interval": bootstrap_intervals(ranks, k, resamples, config.train.seed)}
        if resamples
        else metrics
    )


def evaluate_baselines(
    config: Config, split: Split, part: str = "test"
) -> dict[str, dict[str, float]]:
    """Metrics of most-popular and of last-item-transition."""
    return {
        name: summarise(rank(baseline(split), config, split, part), config.evaluate.k)
        for name, baseline in BASELINES.items()
    }
