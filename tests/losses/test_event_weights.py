"""Weights of event types in training, for all models and kinds of batches."""

import functools

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.layers import TransitionDistillation
from tfrec_attn.runs import run
from tfrec_attn.runtime.process import seed_everything
from tfrec_attn.training.fitting import compile_model
from tfrec_attn.training.inputs import training_stream

USERS, ITEMS, LENGTH, ROWS = 6, 12, 4, 8
TRANSITIONS = (np.array([0, 0, 2, *[2] * (ITEMS - 1)]), np.array([3, 5]), np.array([4, 1]))
LOSSES = {"attrec": ("hinge", "bpr"), "sasrec": ("softmax", "sampled_softmax", "bce", "gbce")}
CASES = [(name, loss) for name, losses in LOSSES.items() for loss in losses]


@pytest.fixture(scope="module", params=LOSSES)
def name(request):
    return request.param


def new(name):
    parameters = {
        key: value
        for key, value in {"dim": 8, "stddev": 0.5, "dropout": 0.0}.items()
        if key in models.parameters(name)
    }
    return models.get(name)(USERS, ITEMS, LENGTH, **parameters)


@functools.cache
def initial(name):
    return new(name).get_weights()


def compiled(name, loss, **changes):
    model = new(name)
    model.set_weights(initial(name))
    model.compile(tf.keras.optimizers.SGD(0.1), loss, margin=3.0, **changes)
    return model


def batch_of(loss, seed=0):
    """Returns a batch without weights, the weights of its targets, and a row of total weight 2."""
    random = np.random.default_rng(seed)
    history = random.integers(1, ITEMS + 1, (ROWS, LENGTH))
    for row in range(ROWS):
        history[row, : row % LENGTH] = 0
    batch = {"user": random.integers(1, USERS + 1, ROWS), "history": history}
    if loss in LOSSES["attrec"]:
        batch["targets"] = random.integers(1, ITEMS + 1, (ROWS, 2))
        batch["negatives"] = random.integers(1, ITEMS + 1, (ROWS, 2, 3))
        return batch, random.uniform(0.25, 3, ROWS)
    batch["targets"] = random.integers(1, ITEMS + 1, (ROWS, LENGTH)) * (history > 0)
    batch["negatives"] = random.integers(
        1, ITEMS + 1, (ROWS, 2) if loss == "sampled_softmax" else (ROWS, LENGTH, 3)
    )
    return batch, random.uniform(0.25, 3, (ROWS, LENGTH)) * (history > 0)


def features(batch, sample_weight):
    """A batch as the streams give it, with sample weights or without."""
    rows = len(batch["user"])
    made = {key: tf.constant(values, tf.int32) for key, values in batch.items()}
    total = np.count_nonzero(batch["history"]) if sample_weight is None else sample_weight.sum()
    if sample_weight is not None:
        made["sample_weight"] = tf.constant(sample_weight, tf.float32)
    if sample_weight is not None or batch["targets"].shape == batch["history"].shape:
        made["normalizer"] = tf.fill([rows], tf.constant(1.0 / total, tf.float32))
    return made


def loss_and_gradients(model, made):
    with tf.GradientTape() as tape:
        loss = model.compute_loss(made)
    return [
        loss.numpy(),
        *(
            tf.convert_to_tensor(one).numpy()
            for one in tape.gradient(loss, model.trainable_variables)
        ),
    ]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("name", "loss"), CASES)
def test_a_weight_of_two_is_that_target_twice(name, loss, reduction):
    batch, sample_weight = batch_of(loss)
    sample_weight = (sample_weight > 0).astype(float)
    sample_weight[3] *= 2
    shared = ("negatives",) if loss == "sampled_softmax" else ()
    twice = {
        key: values if key in shared else np.concatenate([values, values[3:4]])
        for key, values in batch.items()
    }
    distilled = {
        "distillation": TransitionDistillation(TRANSITIONS, 0.5),
        "distillation_weight": 0.7,
        "reduction": reduction,
    }
    model = compiled(name, loss, **distilled)
    found = loss_and_gradients(model, features(batch, sample_weight))
    for one, other in zip(found, loss_and_gradients(model, features(twice, None)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_batch_without_weight_leaves_the_loss_finite():
    model, twin = (compiled("sasrec", "softmax") for _ in range(2))
    made = features(*batch_of("softmax"))
    expected = float(twin.train_step(made)["loss"])
    nothing = {**made, "sample_weight": tf.zeros_like(made["sample_weight"])}
    assert float(model.train_step(nothing)["loss"]) == 0.0
    assert float(model.train_step(made)["loss"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_softmax_by_hand(reduction):
    batch, sample_weight = batch_of("softmax")
    model = compiled("sasrec", "softmax", reduction=reduction)
    made = features(batch, sample_weight)
    scores = model.sequence_vectors(made).numpy() @ model.item_vectors().numpy()[1:].T
    expected = 0.0
    for row, place in zip(*np.nonzero(batch["history"]), strict=True):
        logits = scores[row, place]
        expected += sample_weight[row, place] * (
            np.log(np.exp(logits).sum()) - logits[batch["targets"][row, place] - 1]
        )
    np.testing.assert_allclose(
        model.compute_loss(made),
        expected if reduction == "sum" else expected / sample_weight.sum(),
        rtol=1e-5,
    )


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_windows_by_hand(reduction):
    batch, sample_weight = batch_of("hinge")
    model = compiled("attrec", "hinge", reduction=reduction)
    each = [
        float(
            model.compute_loss(
                features({key: values[row : row + 1] for key, values in batch.items()}, None)
            )
        )
        for row in range(ROWS)
    ]
    expected = np.dot(each, sample_weight)
    found = model.compute_loss(features(batch, sample_weight))
    np.testing.assert_allclose(
        found, expected if reduction == "sum" else expected / sample_weight.sum(), rtol=1e-5
    )
    logged = model.fit(
        tf.data.Dataset.from_tensors(features(batch, sample_weight)), verbose=0
    ).history["loss"]
    np.testing.assert_allclose(logged, [expected / sample_weight.sum()], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "loss", "reduction"),
    [(*case, ("sum", "mean")[number % 2]) for number, case in enumerate(CASES)],
)
def test_a_batch_in_parts_trains_as_the_whole(name, loss, reduction):
    trained = []
    for accumulate in (1, 2):
        model = compiled(name, loss, reduction=reduction, accumulate=accumulate, run_eagerly=True)
        logged = [
            model.fit(
                tf.data.Dataset.from_tensors(features(*batch_of(loss, seed))), verbose=0
            ).history["loss"]
            for seed in (1, 2)
        ]
        trained.append(
            [np.array(logged), *(variable.numpy() for variable in model.trainable_variables)]
        )
    for whole, parts in zip(*trained, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert any(
        np.abs(one - before).max() > 1e-3
        for one, before in zip(trained[0][1:], initial(name), strict=True)
    )


TRAININGS = {
    "attrec": ["train.loss=hinge", "train.reduction=mean"],
    "sasrec": ["train.loss=softmax", "train.reduction=mean", "runtime.steps_per_execution=1"],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path, frame = tmp_path_factory.mktemp("log") / "log.csv", synthetic(1_200, seed=3)
    kinds = pl.Series(["view", "buy"]).gather(np.arange(frame.height) % 3 // 2)
    frame.with_columns(kind=kinds).write_csv(path)
    return path


def trained(path, name, *overrides):
    """(data, weights after three steps, logged loss)."""
    keys = [
        "data.source=file",
        f"data.path={path}",
        "data.columns.event=kind",
        f"model.name={name}",
        "model.dim=8",
        "train.batch_size=32",
    ]
    config = configuration.load(None, [*keys, *TRAININGS[name], *overrides])
    config = configuration.with_model_parameters(config, models.parameters(name))
    data = run.prepare_data(config)
    seed_everything(7)
    model = run.build_model(config, data.sequences.user_vocabulary, data.sequences.item_vocabulary)
    stream = training_stream(config, data.split)
    compile_model(model, config, data.split, stream)
    logged = model.fit(stream.dataset(), steps_per_epoch=3, verbose=0).history["loss"]
    return data, [variable.numpy() for variable in model.trainable_variables], logged


def test_equal_weights_are_none_to_the_bit(path, name):
    plain, ones = (
        trained(path, name, *given) for given in ([], ["data.event_weights={view: 1, buy: 1}"])
    )
    assert plain[0].sequences.weights is None
    assert ones[0].sequences.weights.tolist() == [1.0] * len(plain[0].sequences.items)
    assert ones[2] == plain[2]
    for one, two in zip(plain[1], ones[1], strict=True):
        np.testing.assert_array_equal(two, one)


def test_known_ids_and_the_filter_leave_each_event_its_weight():
    # The weight tells the event; "rare" goes, and "v" and "b" were known before.
    events = [
        ("u", "a", 3, 1),
        ("v", "b", 2, 2),
        ("u", "b", 1, 3),
        ("u", "rare", 2, 4),
        ("v", "a", 1, 5),
        ("v", "b", 2, 6),
    ]
    frame = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp", "weight"], orient="row")
    known = Vocabulary(["gone", "v"]), Vocabulary(["b"])
    sequences, _ = encode_log(frame.cast({"weight": pl.Float32}), min_item_events=2, known=known)
    assert sequences.offsets.tolist() == [0, 0, 3, 5]
    assert (sequences.items.tolist(), sequences.weights.tolist()) == (
        [2, 1, 1, 1, 2],
        [5, 2, 6, 3, 1],
    )
    assert sequences.weights.dtype == np.float32
