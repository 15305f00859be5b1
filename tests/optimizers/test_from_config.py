"""The optimizer and the learning rate of a configuration, and their errors."""

import pytest
import tensorflow as tf

from tfrec_attn import optimizers
from tfrec_attn.config import load
from tfrec_attn.errors import ConfigError
from tfrec_attn.keras_versions import IS_KERAS_3


def make(*overrides, steps_per_epoch=10):
    return optimizers.make_optimizer(load(None, overrides), steps_per_epoch)


def test_the_default_optimizer_is_this_adagrad():
    optimizer = make(
        "train.learning_rate=0.25", "train.optimizer_options={initial_accumulator_value: 0.75}"
    )
    assert type(optimizer) is optimizers.Adagrad
    assert float(optimizer.learning_rate) == 0.25
    assert optimizer.get_config()["initial_accumulator_value"] == 0.75


@pytest.mark.parametrize(
    "name", ["adam", "Adam", "adamw", "SGD", "rmsprop", "lion", "nadam", "Ftrl"]
)
def test_any_keras_optimizer_by_name(name):
    # Keras' own look-up by a configuration gives the classes of tf.keras.optimizers.legacy, which
    # lack options and some optimizers.
    optimizer = make(
        f"train.optimizer={name}",
        "train.learning_rate=0.25",
        "train.optimizer_options={clipnorm: 0.5}",
    )
    assert isinstance(optimizer, tf.keras.optimizers.Optimizer)
    assert type(optimizer).__name__.lower() == name.lower()
    assert (float(optimizer.learning_rate), optimizer.get_config()["clipnorm"]) == (0.25, 0.5)


def test_an_unknown_optimizer():
    sentence = (
        r"^train\.optimizer must be one of adadelta, [a-z_, ]+, sgd, "
        r"but is 'Adm' \(did you mean 'adam'\?\)\.$"
    )
    with pytest.raises(ConfigError, match=sentence):
        make("train.optimizer=Adm")
    with pytest.raises(ConfigError, match=r"^train\.optimizer must be one of "):
        make("train.optimizer=optimizer")


@pytest.mark.parametrize("options", ["{no_such: 1}", "{learning_rate: fast}"])
@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_options_that_an_optimizer_does_not_take(name, options):
    with pytest.raises(
        ConfigError,
        match=rf"^train\.optimizer={name} with options \{{.*\}} cannot be made: [^\n]+$",
    ):
        make(f"train.optimizer={name}", f"train.optimizer_options={options}")


def test_lazy_adam_by_name():
    optimizer = make(
        "train.optimizer=lazy_adam",
        "train.learning_rate=0.25",
        "train.optimizer_options={beta_1: 0.5}",
    )
    assert type(optimizer) is optimizers.LazyAdam
    assert (float(optimizer.learning_rate), optimizer.get_config()["beta_1"]) == (0.25, 0.5)


@pytest.mark.parametrize("options", ["{amsgrad: true}", "{weight_decay: 0.1}"])
def test_lazy_adam_refuses_options_that_update_all_rows(options):
    sentence = (
        r"cannot be made: train\.optimizer_options\.(amsgrad|weight_decay) must be left out of "
        r"lazy_adam, "
        r"since it updates all rows, but is .*; use adam\.$"
    )
    with pytest.raises(ConfigError, match=sentence):
        make("train.optimizer=lazy_adam", f"train.optimizer_options={options}")


def rates(optimizer, steps):
    """The learning rate of each of some steps that move nothing."""
    variable, found = tf.Variable(0.0), []
    for _ in range(steps):
        before = float(optimizer.learning_rate)
        optimizer.apply_gradients([(tf.constant(0.0), variable)])
        # Keras 2 keeps the rate of the last step, and Keras 3 computes that of the next.
        found.append(before if IS_KERAS_3 else float(optimizer.learning_rate))
    return found


@pytest.mark.parametrize("name", ["adagrad", "lazy_adam", "sgd"])
def test_a_schedule_over_all_steps_of_training(name):
    # 2 epochs of 3 steps: up to 0.8 in 2, down to 0.4 in the other 4.
    overrides = [
        "train.epochs=2",
        "train.learning_rate=0.8",
        "train.warmup_steps=2",
        "train.schedule=linear",
        "train.final_learning_rate=0.4",
    ]
    optimizer = make(f"train.optimizer={name}", *overrides, steps_per_epoch=3)
    assert rates(optimizer, 7) == pytest.approx([0.4, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4])


def test_a_warm_up_alone():
    assert rates(make("train.learning_rate=0.6", "train.warmup_steps=3"), 5) == pytest.approx(
        [0.2, 0.4, 0.6, 0.6, 0.6]
    )


def test_without_schedule_and_warm_up_the_rate_is_a_number():
    optimizer = make("train.learning_rate=0.25")
    optimizer.learning_rate = 0.5
    assert rates(optimizer, 2) == [0.5, 0.5]


def test_a_warm_up_longer_than_the_training():
    sentence = (
        r"^train\.warmup_steps must be at most the steps of training, 6 \(2 epochs of 3\), "
        r"but is 7\.$"
    )
    with pytest.raises(ConfigError, match=sentence):
        make("train.epochs=2", "train.warmup_steps=7", steps_per_epoch=3)
    make("train.epochs=2", "train.warmup_steps=6", "train.schedule=cosine", steps_per_epoch=3)
