"""Tests of servables of a model that was trained in Python, without a run directory."""

import re

import numpy as np
import pytest
import tensorflow as tf

from export.from_python import export_model
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SERVABLE_SUMS
from tfrec_attn.models import AttRec, SASRec
from tfrec_attn.optimizers import Adagrad

USERS, ITEMS, LENGTH = 6, 12, 4


def batches(positions):
    """Training examples, made with `tf.data` alone: item i + 1 comes after item i."""
    random = np.random.default_rng(3)
    history = (random.integers(0, ITEMS, (64, 1)) + np.arange(LENGTH)) % ITEMS + 1
    features = {"user": random.integers(1, USERS + 1, 64), "history": history}
    if positions:
        features["targets"] = history % ITEMS + 1
        features["normalizer"] = np.full(64, 1 / 64 / LENGTH, np.float32)
    else:
        features["targets"] = history[:, -1:] % ITEMS + 1
        features["negatives"] = random.integers(1, ITEMS + 1, (64, 1, 3))
    typed = {
        name: value if value.dtype == np.float32 else value.astype(np.int32)
        for name, value in features.items()
    }
    return tf.data.Dataset.from_tensors(typed).repeat()


@pytest.fixture(scope="module", params=[AttRec, SASRec], ids=["attrec", "sasrec"])
def trained(request):
    model = request.param(USERS, ITEMS, LENGTH, dim=8)
    positions = model.trains_on == "next_items"
    model.compile(Adagrad(0.2), "softmax" if positions else "hinge", reduction="mean")
    losses = model.fit(batches(positions), epochs=2, steps_per_epoch=10, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    model.user_vocabulary = Vocabulary([f"user {index}" for index in range(1, USERS + 1)])
    model.item_vocabulary = Vocabulary([f"item {index}" for index in range(1, ITEMS + 1)])
    return model


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """(model, folder of its version)."""
    return trained, export_model(
        trained, tmp_path_factory.mktemp("servables") / "shop", k=3, max_k=5
    )


def test_files_of_a_version(exported):
    _, folder = exported
    assert (folder.parent.name, folder.name) == ("shop", "1")
    assert {str(path.relative_to(folder)) for path in folder.glob("assets.extra/*")} == {
        SERVABLE_SUMS,
        "assets.extra/tf_serving_warmup_requests",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
    with pytest.raises(
        ConfigError,
        match=f"^version 1 exists in {folder.parent}; name another one, or leave it out for",
    ):
        export_model(exported[0], folder.parent, version=1)


def test_recommendations_are_those_of_the_model(exported):
    model, folder = exported
    users, histories = (
        ["user 2", "nobody", "nobody"],
        [["item 3", "item 4"], ["item 12", "item 1", "item 2"], []],
    )
    items, scores = model.recommend(histories, k=5, users=users)
    table = [["", *histories[0]], histories[1], ["", "", ""]]
    recommend = tf.saved_model.load(str(folder)).signatures["recommend"]
    nothing = tf.constant([[""]] * 3)
    found = recommend(
        user_id=tf.constant(users),
        history=tf.constant(table),
        exclude=nothing,
        allow=nothing,
        k=tf.constant([5] * 3),
    )
    assert [[one.decode() for one in row] for row in found["items"].numpy()] == items
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5, atol=1e-6)
    # Without a popularity the model answers too where nothing is known.
    assert found["source"].numpy().tolist() == [b"model"] * 3


@pytest.mark.parametrize("trained", [AttRec], ids=["attrec"], indirect=True)
def test_popularity_and_repeats_of_the_model(trained, tmp_path):
    trained.popularity, trained.repeats = (
        np.arange(ITEMS, dtype=np.float32) / sum(range(ITEMS)),
        "include",
    )
    try:
        folder = export_model(trained, tmp_path / "shop", k=ITEMS)
    finally:
        trained.popularity, trained.repeats = None, "exclude"
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = serve(
        user_id=tf.constant(["nobody", "user 1"]),
        history=tf.constant([["", ""], ["item 3", "item 4"]]),
    )
    assert found["source"].numpy().tolist() == [b"popular", b"model"]
    assert found["items"].numpy()[0].tolist() == [
        f"item {index}".encode() for index in range(ITEMS, 0, -1)
    ]
    np.testing.assert_allclose(
        found["scores"].numpy()[0], [index / 66 for index in range(11, -1, -1)], rtol=1e-6
    )
    assert {b"item 3", b"item 4"} < set(found["items"].numpy()[1].tolist())


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        (
            {"item_vocabulary": None},
            {},
            "The model must have ids for its 5 items, but has none; "
            "call model.set_vocabularies(items=...) before the export.",
        ),
        (
            {"user_vocabulary": Vocabulary(["a"])},
            {},
            "The model must have ids for its 3 users, but has 1; "
            "call model.set_vocabularies(users=...) before the export.",
        ),
        ({}, {"k": 0}, "k must be at least 1 and at most max_k, but k is 0 and max_k is 100."),
        ({}, {"version": 0}, "version must be at least 1, but is 0."),
        ({}, {"keep": 0}, "keep must be at least 1, but is 0."),
        (
            {"popularity": np.ones(4)},
            {},
            "model.popularity must have one number for each of 5 items, but has 4.",
        ),
    ],
)
def test_models_that_cannot_be_exported(change, options, sentence, tmp_path):
    model = AttRec(3, 5, LENGTH, dim=4)
    model.user_vocabulary, model.item_vocabulary = Vocabulary("abc"), Vocabulary("abcde")
    for name, value in change.items():
        setattr(model, name, value)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        export_model(model, tmp_path / "shop", **options)
    assert list(tmp_path.iterdir()) == []


def test_object_that_is_no_model(tmp_path):
    with pytest.raises(
        TypeError,
        match=r"^model must be a tfrec_attn\.models\.SequenceModel, but is a Sequential\.$",
    ):
        export_model(tf.keras.Sequential(), tmp_path / "shop")
    assert list(tmp_path.iterdir()) == []
