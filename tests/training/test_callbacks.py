"""Callbacks of the training command, called as Keras calls them."""

import types

import pytest

from tfrec_attn import models
from tfrec_attn.errors import TrainingError
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.training import callbacks
from tfrec_attn.training.progress import Progress


@pytest.fixture
def model():
    """A compiled model of 3 users and 5 items whose optimizer has its slots."""
    model = models.AttRec(3, 5, 2, dim=2)
    model.compile()
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("spoilt", [True, False])
def test_a_loss_that_is_not_finite_stops_training(loss, spoilt, model):
    table = model.tables("items")[0]
    culprit = "all weights are finite, so the loss itself overflowed"
    if spoilt:
        variable_of(table).scatter_nd_update([[2, 1]], [loss])
        culprit = f"{variable_of(table).name} has 1 values that are not finite"
    callback = callbacks.FiniteLoss("lower it")
    callback.set_model(model)
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(40, {"loss": 0.5})
    callback.on_epoch_begin(2)
    with pytest.raises(TrainingError) as caught:
        callback.on_train_batch_end(15, {"loss": loss})
    # Keras counts both from 0, the sentence from 1.
    assert (
        str(caught.value) == f"The loss became {loss} by step 16 of epoch 3: {culprit}; lower it."
    )
    assert caught.value.exit_code == 1


def test_processes_of_a_cluster_stop_at_the_same_step(model):
    # In an epoch each process knows the loss of its own replica, at the end that of all.
    callback = callbacks.EpochOnly(callbacks.FiniteLoss("lower it"), 7)
    callback.set_model(model)
    callback.on_epoch_begin(2)
    callback.on_train_batch_end(4, {"loss": float("nan")})
    with pytest.raises(TrainingError, match="became nan by step 7 of epoch 3"):
        callback.on_epoch_end(2, {"loss": float("nan")})


def test_a_finite_loss_does_not():
    callback = callbacks.FiniteLoss("lower it")
    callback.on_epoch_begin(0)
    for logs in ({"loss": 0.0}, {"loss": -3.5}, {"loss": 1e38}, {}, None):
        callback.on_train_batch_end(0, logs)


@pytest.fixture
def clock(monkeypatch):
    """A function that runs epochs, each (begin, ends of its batches), under a simulated clock."""
    now = [0.0]
    monkeypatch.setattr(callbacks, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    def run(progress, epochs):
        callback = callbacks.TrainingClock(progress)
        callback.on_train_begin()
        for begin, ends in epochs:
            now[0] = begin
            callback.on_epoch_begin(progress.epoch)
            for batch, end in enumerate(ends):
                now[0] = end
                callback.on_train_batch_end(batch)
            now[0] = end + 100.0  # validation
            callback.on_epoch_end(progress.epoch)
            progress.epoch += 1
        return progress

    return run


def test_the_clock_counts_training_steps_and_leaves_out_the_first_epoch(clock):
    # 10 -> 19 takes 9, 200 -> 203 takes 3, 400 -> 405 takes 5; the mean of the last two is 4.
    progress = clock(Progress(), [(10.0, [19.0]), (200.0, [201.0, 203.0]), (400.0, [405.0])])
    assert progress.seconds == [9.0, 3.0, 5.0]
    assert progress.steady_seconds() == 4.0


def test_the_clock_counts_a_single_epoch(clock):
    assert clock(Progress(), [(10.0, [12.0, 17.0])]).steady_seconds() == 7.0


def test_the_clock_is_resumed(clock):
    # A second process finishes epoch 2 after 4 seconds of the first process. That epoch is left
    # out, as is the first.
    progress = Progress(epoch=2, step=3, seconds=[9.0, 3.0, 4.0], begun=[0])
    progress = clock(progress, [(10.0, [12.0]), (20.0, [25.0])])
    assert progress.seconds == [9.0, 3.0, 6.0, 5.0]
    assert progress.begun == [0, 2]
    assert progress.steady_seconds() == 4.0


def test_progress_is_over_after_patience_epochs():
    def over(values, epochs=9, **kwargs):
        return Progress(
            epoch=len(values), history=[{"val_MRR": value} for value in values], **kwargs
        ).is_over(epochs, "MRR", 2)

    assert not over([])
    assert [over([0.3, 0.2, 0.1][:count]) for count in (1, 2, 3)] == [False, False, True]
    # An equal value is not better, and patience starts again at a better one.
    assert over([0.3, 0.3, 0.3]) and not over([0.1, 0.2, 0.1, 0.3, 0.1])
    assert over([0.1, 0.2], epochs=2)
    assert (
        Progress(
            epoch=4, history=[{"val_MRR": value} for value in (0.1, 0.3, 0.3, 0.2)]
        ).best_epoch("MRR")
        == 1
    )


@pytest.mark.parametrize(
    ("steps", "ema", "epochs"), [(3, 0.99, 34), (20, 0.99, 5), (1, 0.5, 5), (3, None, 5)]
)
def test_an_average_of_weights_is_given_the_steps_that_it_needs(steps, ema, epochs):
    # 0.99 needs 1 / 0.01 = 100 steps, 33.3 epochs of 3 steps; 0.5 needs 2 steps.
    assert Progress(steps=steps).patience(5, ema) == epochs


def test_progress_is_read_back_exactly():
    progress = Progress(
        2,
        5,
        [{"loss": 0.1 + 0.2, "not_finite": 0}],
        [1 / 3],
        [0, 1],
        1e-300,
        [3.4028234663852886e38, 7.0],
        4,
    )
    assert Progress.from_json(progress.to_json()) == progress


@pytest.mark.parametrize(("epochs", "message"), [(9, True), (4, False)])
def test_early_stopping_is_told(epochs, message, capsys):
    """After four epochs of which the first is the best, with patience 3; not at the last epoch."""
    history = [{"val_MRR": value} for value in (0.4, 0.3, 0.2, 0.1)]
    progress = Progress(epoch=4, history=history)
    stop = callbacks.EarlyStop(progress, metric="MRR", epochs=epochs, patience=3)
    stop.set_model(types.SimpleNamespace(stop_training=False))
    stop.on_epoch_end(3)
    assert stop.model.stop_training
    sentence = "Training stops: no better MRR in 3 epochs (train.patience).\n"
    assert capsys.readouterr().out == (sentence if message else "")
