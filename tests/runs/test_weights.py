"""Weights by name: what the names are, and that they come back."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import EVERY, ITEMS, LENGTH, USERS, loss_of, make, training_features
from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel
from tfrec_attn.optimizers import LazyAdam
from tfrec_attn.runs import weights

OPTIMIZERS = ["adam", "rmsprop", "nadam", "lazy_adam"]


def ids(variables):
    return sorted(variable_of(one).ref().__hash__() for one in variables)


def trained(name, optimizer="adam"):
    model = make(name)
    model.compile(LazyAdam() if optimizer == "lazy_adam" else optimizer, loss_of(name))
    model.fit(tf.data.Dataset.from_tensors(training_features(name, loss=loss_of(name))), verbose=0)
    return model


def twin(name, optimizer="adam"):
    """A new model with slots, all of whose values differ."""
    other = make(name)
    other.compile(LazyAdam() if optimizer == "lazy_adam" else optimizer, loss_of(name))
    keras.build(other.optimizer, other.trainable_variables)
    for variable in [*other.trainable_variables, *other.optimizer.variables]:
        variable.assign(variable + tf.cast(7, variable_of(variable).dtype))
    return other


def assert_same(one, other):
    found, expected = (
        [*weights.named_weights(model).values(), *map(variable_of, model.optimizer.variables)]
        for model in (other, one)
    )
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, wanted, wanted.name)


@pytest.mark.parametrize("name", EVERY)
def test_each_weight_has_one_name(name):
    model = make(name)
    assert ids(weights.named_weights(model).values()) == ids(model.weights)


class Parts(SequenceModel):
    """A model with layers of Keras, in lists and in a sequential model."""

    def __init__(self, num_users, num_items, max_length, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        dense = tf.keras.layers.Dense
        self.items = EmbeddingTable(num_items, 3, name="items")
        # Keras has attributes of these names too.
        self.inputs, self.outputs = dense(3, use_bias=False), [dense(2, use_bias=False)]
        self.hidden = [dense(4), dense(3)]
        self.gates = {"in": dense(3, use_bias=False)}
        self.tower = tf.keras.Sequential([dense(5), dense(3)])
        self.cell = tf.keras.layers.GRU(3)
        for layer in (self.hidden[0], self.gates["in"], self.inputs, self.outputs[0]):
            layer.build((None, 3))
        self.hidden[1].build((None, 4))
        self.tower.build((None, 3))
        self.cell.build((None, None, 3))

    def item_tables(self):
        return [self.items]


def test_names_by_hand():
    assert sorted(weights.named_weights(Parts(USERS, ITEMS, LENGTH))) == sorted(
        ["items/embeddings", "gates/in/kernel", "inputs/kernel", "outputs/0/kernel"]
        + [f"{layer}/{one}" for layer in ("hidden/0", "hidden/1") for one in ("bias", "kernel")]
        + [f"tower/layer-{layer}/{one}" for layer in (0, 1) for one in ("bias", "kernel")]
        + [f"cell/cell/{one}" for one in ("bias", "kernel", "recurrent_kernel")]
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_of_the_optimizer_comes_back(optimizer, tmp_path):
    model = trained("attrec", optimizer)
    weights.write(tmp_path / "weights", model)
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "weights"))]
    assert "short_items/embeddings/.ATTRIBUTES/VARIABLE_VALUE" in names
    other = twin("attrec", optimizer)
    weights.read(tmp_path / "weights", other, other.optimizer)
    assert_same(model, other)


@pytest.mark.parametrize(
    ("optimizer", "slots", "others"),
    [
        ("adagrad", ["accumulators"], []),
        ("lazy_adam", ["momentums", "velocities"], []),
        ("nadam", ["momentums", "velocities"], ["u_product"]),
        ("rmsprop", ["velocities"], []),
        ("sgd", [], []),
    ],
)
def test_names_of_the_state_by_hand(optimizer, slots, others):
    model = twin("attrec", optimizer)
    tables = ["intent/query_kernel", "long_items", "long_users", "short_items"]
    names = [one if "/" in one else f"{one}/embeddings" for one in tables]
    assert sorted(weights.named_state(model, model.optimizer)) == sorted(
        ["iterations", "learning_rate", *others]
        + [f"{slot}/{name}" for slot in slots for name in names]
    )


def test_another_model_or_optimizer(tmp_path):
    model = trained("attrec", "sgd")
    weights.write(tmp_path / "weights", model)
    other = twin("attrec", "adam")
    with pytest.raises(AssertionError):
        weights.read(tmp_path / "weights", other, other.optimizer)
    with pytest.raises((AssertionError, ValueError)):
        weights.read(tmp_path / "weights", make("attrec", dim=4))
    with pytest.raises(AssertionError):
        weights.read(tmp_path / "weights", make("sasrec"))


def test_neither_names_nor_files_make_variables(tmp_path):
    # In a cluster, a variable is made by all workers together, but the first one reads alone.
    model, other = trained("sasrec"), twin("sasrec")

    def refuse(_, **options):
        raise AssertionError(options.get("name"))

    with tf.variable_creator_scope(refuse):
        weights.write(tmp_path / "weights", model)
        weights.read(tmp_path / "weights", other, other.optimizer)
    assert_same(model, other)
