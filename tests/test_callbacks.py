"""Callbacks of the training command, called as Keras calls them."""

import types

import pytest

from tfrec_attn import callbacks
from tfrec_attn.errors import TrainingError


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_stops_training(loss):
    callback = callbacks.FiniteLoss()
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(40, {"loss": 0.5})
    callback.on_epoch_begin(2)
    with pytest.raises(TrainingError) as caught:
        callback.on_train_batch_end(15, {"loss": loss})
    # Keras counts both from 0, the sentence from 1.
    assert str(caught.value) == f"The loss became {loss} by step 16 of epoch 3; lower train.learning_rate, or set model.max_norm."
    assert caught.value.exit_code == 1


def test_a_finite_loss_does_not():
    callback = callbacks.FiniteLoss()
    callback.on_epoch_begin(0)
    for logs in ({"loss": 0.0}, {"loss": -3.5}, {"loss": 1e38}, {}, None):
        callback.on_train_batch_end(0, logs)


@pytest.fixture
def clock(monkeypatch):
    """A function that runs epochs, each (begin, time at the end of each batch), under a made-up clock."""
    now = [0.0]
    monkeypatch.setattr(callbacks, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    def run(epochs):
        callback = callbacks.TrainingClock()
        for number, (begin, ends) in enumerate(epochs):
            now[0] = begin
            callback.on_epoch_begin(number)
            for batch, end in enumerate(ends):
                now[0] = end
                callback.on_train_batch_end(batch)
            now[0] = end + 100.0  # validation
            callback.on_epoch_end(number)
        return callback

    return run


def test_the_clock_counts_training_steps_and_leaves_out_the_first_epoch(clock):
    # 10 -> 19 takes 9, 200 -> 203 takes 3, 400 -> 405 takes 5; the mean of the last two is 4.
    callback = clock([(10.0, [19.0]), (200.0, [201.0, 203.0]), (400.0, [405.0])])
    assert callback.seconds == [9.0, 3.0, 5.0]
    assert callback.steady_seconds() == 4.0


def test_the_clock_takes_the_only_epoch(clock):
    assert clock([(10.0, [12.0, 17.0])]).steady_seconds() == 7.0
