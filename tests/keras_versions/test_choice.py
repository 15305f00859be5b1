"""Which Keras a process runs, and what it says about a mixture of both."""

import os
import runpy
import sys
import types
from pathlib import Path

import pytest
import tensorflow as tf

import tfrec_attn
from tests.models.contract import make
from tfrec_attn.keras_versions import IS_KERAS_3, keras
from tfrec_attn.keras_versions.model import Model
from tfrec_attn.layers.transition_prior import TransitionPrior

OTHER = "tf_keras" if IS_KERAS_3 else "keras"


def chosen(monkeypatch, variable=None, keras=None, tensorflow=None):
    """TF_USE_LEGACY_KERAS after an import, given what is set and imported before."""
    monkeypatch.delenv("TF_USE_LEGACY_KERAS")
    if variable is not None:
        monkeypatch.setenv("TF_USE_LEGACY_KERAS", variable)
    for name, version in (("keras", keras), ("tensorflow", tensorflow)):
        monkeypatch.delitem(sys.modules, name, raising=False)
        if version is not None:
            module = types.SimpleNamespace(__version__=version)
            module.keras = module
            monkeypatch.setitem(sys.modules, name, module)
    runpy.run_path(tfrec_attn.__file__)
    return os.environ["TF_USE_LEGACY_KERAS"]


def test_the_choice_of_the_process_stays(monkeypatch):
    assert chosen(monkeypatch) == "1"
    assert chosen(monkeypatch, keras="3.5.0") == "0"
    assert chosen(monkeypatch, keras="3.5.0", tensorflow="3.5.0") == "0"
    assert chosen(monkeypatch, "0") == "0"
    assert chosen(monkeypatch, "0", tensorflow="3.5.0") == "0"
    assert chosen(monkeypatch, "1", keras="3.5.0") == "1"


@pytest.mark.parametrize(("variable", "wanted", "found"), [("1", 2, "3.5.0"), ("0", 3, "2.18.0")])
def test_a_variable_that_came_too_late(monkeypatch, variable, wanted, found):
    with pytest.raises(ImportError) as caught:
        chosen(monkeypatch, variable, tensorflow=found)
    assert str(caught.value) == (
        f"TF_USE_LEGACY_KERAS={variable} chooses Keras {wanted}, but TensorFlow was imported "
        f"before with Keras {found}: import tfrec_attn first, or set the variable before "
        "TensorFlow is imported."
    )


def test_a_model_is_one_of_the_keras_of_the_process():
    bases = {f"{one.__module__.partition('.')[0]}.{one.__name__}" for one in Model.__mro__}
    own = {"keras.Model"} if IS_KERAS_3 else {"tf_keras.Model", "tensorflow_recommenders.Model"}
    assert own <= bases and f"{OTHER}.Model" not in bases


def test_a_layer_that_is_replaced_is_no_part_of_a_model():
    model = make("sasrec")
    weights = len(model.weights)
    model.transition_prior = TransitionPrior(model.num_items, 2)
    both = len(model.weights)
    model.transition_prior = TransitionPrior(model.num_items, 2)
    assert len(model.weights) == both > weights
    model.transition_prior = None
    assert len(model.weights) == weights
    model.items = model.items
    assert len(model.weights) == weights


def test_an_optimizer_of_the_other_keras():
    adam = type("Adam", (), {"__module__": f"{OTHER}.src.optimizers.adam"})
    with pytest.raises(ValueError) as caught:
        make("attrec").compile(adam())
    own = "keras" if IS_KERAS_3 else "tf_keras"
    assert str(caught.value) == (
        f"optimizer must be an object of {own}, the Keras of this process, but is Adam of {OTHER}: "
        "take it from tf.keras, or choose the other Keras by TF_USE_LEGACY_KERAS before TensorFlow "
        "is imported."
    )


@pytest.mark.skipif(not IS_KERAS_3, reason="Keras 2 has one backend")
def test_another_backend(monkeypatch):
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError) as caught:
        runpy.run_path(str(Path(keras.__file__)))
    assert str(caught.value) == (
        "tfrec_attn needs the TensorFlow backend of Keras 3, but this process has jax: set "
        "KERAS_BACKEND=tensorflow before Keras is imported."
    )


@pytest.mark.skipif(not IS_KERAS_3, reason="Keras 2 has this strategy")
def test_a_strategy_that_keras_3_cannot_do(monkeypatch):
    model = make("attrec")
    strategy = object.__new__(tf.distribute.ParameterServerStrategy)
    monkeypatch.setattr(type(model), "distribute_strategy", strategy)
    with pytest.raises(ValueError) as caught:
        model.compile("adam")
    assert str(caught.value) == (
        "The strategy must be MirroredStrategy, MultiWorkerMirroredStrategy or one device, because "
        "Keras 3 cannot train with ParameterServerStrategy: make the model in the scope of one of "
        "these."
    )
