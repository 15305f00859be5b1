"""Compilation and training of a model, with checkpoints and early stopping."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config, loss_names
from tfrec_attn.data.batches.stream import BatchStream
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.transitions import count_transitions, training_pairs
from tfrec_attn.errors import ConfigError, DataError, counted, with_keys
from tfrec_attn.keras_versions import keras
from tfrec_attn.layers.embedding_smoothing import EmbeddingSmoothing
from tfrec_attn.layers.graph_regularization import GraphRegularization
from tfrec_attn.layers.transition_distillation import TransitionDistillation
from tfrec_attn.optimizers import make_optimizer
from tfrec_attn.runtime.distribution import broadcast_from_chief, training_input
from tfrec_attn.runtime.stop_signals import StopSignals
from tfrec_attn.training.callbacks import (
    CheckpointSaver,
    EarlyStop,
    EpochOnly,
    FiniteLoss,
    ResumableCallbacks,
    TrainingClock,
)
from tfrec_attn.training.checkpoints import Checkpoints
from tfrec_attn.training.diagnostics import Diagnostics
from tfrec_attn.training.history import HistoryWriter
from tfrec_attn.training.inputs import held_out, training_stream
from tfrec_attn.training.progress import Progress
from tfrec_attn.training.softmax_precision import softmax_precision
from tfrec_attn.training.validated_weights import ValidatedWeights
from tfrec_attn.training.warm_start import WarmStart

# Arguments of `compile` that are keys of section `train`.
_OF_TRAIN = (
    *("margin", "reduction", "l2", "kernel_l2", "seed"),
    *("calibration", "score_penalty", "clip_norm", "accumulate"),
)
# Up to this number of steps, eager execution takes less time than tracing a step.
_FEW_STEPS = 12


def make_distillation(
    config: Config, split: Split
) -> TransitionDistillation | GraphRegularization | EmbeddingSmoothing | None:
    """Returns the layer of `train.distillation`, or None if its weight is 0.

    Raises:
        ConfigError: If the layer refuses its options.
        DataError: If the training events have no transition.
    """
    options = config.train.distillation
    if not options.weight:
        return None
    max_length = config.data.max_length if options.latest else None
    try:
        transitions = count_transitions(split, options.time_span, max_length)
        if not len(transitions.neighbours):
            raise DataError(
                "train.distillation needs a user with two training events in a row, "
                "but there is none; set its weight to 0."
            )
        if options.loss == "squared_distance":
            return GraphRegularization(transitions)
        if options.loss == "smoothing":
            return EmbeddingSmoothing(transitions, options.weight, options.layers)
        return TransitionDistillation(transitions, options.temperature, options.dropout)
    except ValueError as error:
        keys = {name: f"train.distillation.{name}" for name in vars(options)}
        message = with_keys(str(error), keys)
        raise ConfigError(f"train.distillation cannot be made: {message}") from None


def compile_model(
    model: Any, config: Config, split: Split, stream: BatchStream, first_step: int = 0
) -> None:
    """Compiles a model with the settings of section `train`.

    Args:
        model: A `SequenceModel`.
        config: The configuration.
        split: The data.
        stream: The training batches.
        first_step: Initial value of the step counter of the optimizer.

    Raises:
        ConfigError: If the model cannot be trained with these settings.
        DataError: If there is nothing to distill.
    """
    train, steps = config.train, config.runtime.steps_per_execution
    all_steps = train.epochs * stream.steps_per_epoch
    loss_names.try_out(train.loss)
    if model.distribute_strategy.num_replicas_in_sync > 1:
        # The iterations of a loop overlap and share the keys of their collectives, so replicas
        # would sum gradients of different steps.
        steps = 1
    optimizer = make_optimizer(config, stream.steps_per_epoch, first_step)
    distillation = make_distillation(config, split)
    try:
        model.compile(
            optimizer,
            loss_names.get(train.loss),
            **{name: getattr(train, name) for name in _OF_TRAIN},
            run_eagerly=all_steps <= _FEW_STEPS and not tf.distribute.has_strategy(),
            distillation=distillation,
            distillation_weight=train.distillation.weight,
            k=config.evaluate.k,
            log_q=getattr(stream, "log_q", None),
            softmax_precision=softmax_precision(config)[0],
            steps_per_execution=min(steps, stream.steps_per_epoch),
        )
    except ValueError as error:
        name = config.model.name
        raise ConfigError(f"train cannot be done with model.name={name}: {error}") from None


def fit(
    model: Any,
    config: Config,
    split: Split,
    folder: Path,
    warm: WarmStart | None = None,
    stop: StopSignals | None = None,
    after_epoch: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, float]:
    """Compiles and trains a model, which then has the weights of the best epoch.

    An interrupted training is resumed from its newest checkpoint in the folder.

    Args:
        model: A `SequenceModel` for the users and items of the split.
        config: The configuration.
        split: The data.
        folder: Folder for `checkpoints/`, `history.csv` and `tensorboard/`.
        warm: The warm start from which the model has its weights, or None. The optimizer gets its
            slots.
        stop: Signals, which are checked after each step; None: no signals.
        after_epoch: Called with the progress after each epoch and its checkpoint, and before the
            first step of a resumed training. It can raise an exception to end the training.

    Returns:
        best_epoch, epochs, seconds_per_epoch, examples_per_second, and earlier_seconds (the seconds
        of earlier processes).

    Raises:
        NotFiniteError: If the loss or a weight is not finite.
        TrainingError: If the folder cannot be written.
        Interrupted: If a signal was received.
    """
    stream = training_stream(config, split)
    if model.uses_training_events:
        model.set_training_events(*training_pairs(split))
    compile_model(model, config, split, stream, warm.first_step if warm else 0)
    if note := softmax_precision(config)[1]:
        write_line(note)
    if warm:
        warm.copy_slots_to(model)
    checkpoints = Checkpoints(folder)
    progress = _restore(model, checkpoints, stream.steps_per_epoch)
    progress.steps = stream.steps_per_epoch
    earlier = progress.train_seconds
    if progress.epoch:
        after_epoch(progress)
    _train(model, config, split, stream, progress, checkpoints, stop or StopSignals(), after_epoch)
    checkpoints.finish(model)
    seconds = progress.steady_seconds()
    return {
        "best_epoch": progress.best_epoch(config.evaluate.metric) + 1,
        "epochs": progress.epoch,
        "seconds_per_epoch": seconds,
        "examples_per_second": stream.steps_per_epoch * stream.batch_size / seconds,
        "earlier_seconds": earlier,
    }


def _restore(model: Any, checkpoints: Checkpoints, steps: int) -> Progress:
    """Restores the newest intact checkpoint, on all processes, and returns its progress."""
    found = checkpoints.any()
    progress = checkpoints.restore(model)
    if progress is not None:
        write_line(
            f"Resuming from {checkpoints.folder}: "
            f"{counted(progress.epoch, 'epoch')} and {progress.step} of {steps} steps are done."
        )
    elif found:
        write_line("No checkpoint is intact: training starts again.")
    strategy = model.distribute_strategy
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        keras.build(model.optimizer, model.trainable_variables)
        variables = [*model.trainable_variables, *model.optimizer.variables]
        text = broadcast_from_chief(strategy, variables, progress and progress.to_json())
        progress = Progress.from_json(text) if text else None
    return progress or Progress()


def _train(
    model: Any,
    config: Config,
    split: Split,
    stream: BatchStream,
    progress: Progress,
    checkpoints: Checkpoints,
    stop: StopSignals,
    after_epoch: Callable[[Progress], None],
) -> None:
    """Trains until the progress is over: the rest of an interrupted epoch, then other epochs."""
    train, epochs, steps = config.train, config.train.epochs, stream.steps_per_epoch
    patience = progress.patience(train.patience, train.ema)
    limits = {"epochs": epochs, "metric": config.evaluate.metric, "patience": patience}
    if progress.is_over(**limits):
        return
    validation, advice = held_out(config, split, "valid"), _advice(config)
    saver = CheckpointSaver(checkpoints, progress, config, steps=steps, stop=stop, advice=advice)
    finite = FiniteLoss(advice)
    if config.runtime.strategy == "multi_worker":
        saver, finite = EpochOnly(saver, steps), EpochOnly(finite, steps)
    diagnostics = Diagnostics(model, validation)
    callbacks = ResumableCallbacks(
        [
            finite,
            TrainingClock(progress),
            ValidatedWeights(),
            keras.progress_bar(),
            HistoryWriter(checkpoints.folder, progress, diagnostics),
            saver,
            EarlyStop(progress, **limits),
            tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: after_epoch(progress)),
        ],
        model,
        verbose=1 if sys.stdout.isatty() else 2,
        epochs=epochs,
        steps=steps,
    )
    with stop.deferred(), callbacks:
        for last in [progress.epoch + 1, epochs] if progress.step else [epochs]:
            if progress.is_over(**limits):
                break
            callbacks.first_step = progress.step
            first_step = progress.epoch * steps + progress.step
            model.fit(
                training_input(stream, model.distribute_strategy, first_step),
                initial_epoch=progress.epoch,
                epochs=last,
                steps_per_epoch=steps - progress.step,
                callbacks=callbacks,
                validation_data=validation.dataset(),
            )


def _advice(config: Config) -> str:
    """Returns what is likely to help if numbers are not finite, as the end of a sentence."""
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
    return " or ".join(filter(None, [", ".join(advice[:-1]), advice[-1]]))
