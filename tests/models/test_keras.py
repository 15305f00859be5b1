"""Every model as a Keras model: saving, loading, summary and callbacks."""

import functools
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.models.contract import (
    EVERY,
    ITEMS,
    LENGTH,
    OUTSIDE,
    TYPICAL,
    USERS,
    features,
    loss_of,
    make,
    training_features,
)
from tfrec_attn import models
from tfrec_attn.keras_versions import IS_KERAS_3
from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel

EACH = pytest.mark.parametrize("name", [*TYPICAL, "tests.outside.cloze:Cloze"])
# A counting model trains no weights.
USED = [(name, "new") for name in EVERY] + [(name, "fitted") for name in TYPICAL]


def training_set(name):
    return tf.data.Dataset.from_tensors(training_features(name, loss=loss_of(name)))


def held_out():
    target = tf.constant(np.arange(8) % ITEMS + 1, tf.int32)
    return tf.data.Dataset.from_tensors(
        {**features(), "target": target, "seen": tf.zeros([8, 1], tf.int32)}
    )


@functools.cache
def used(name, how):
    """A model that is new, was called, or was trained; no test changes it."""
    model = make(name)
    if how == "called":
        model(features())
    if how == "fitted":
        model.compile("adam", loss_of(name))
        model.fit(training_set(name), validation_data=held_out(), verbose=0)
    return model


def custom_objects(name):
    """The models of other packages are not registered with Keras."""
    return {one.__name__: one for one in (models.get(name),)} if name in OUTSIDE else None


def load(path, name):
    return tf.keras.models.load_model(path, custom_objects=custom_objects(name))


@pytest.mark.parametrize(("name", "how"), USED)
def test_keras_files_give_the_same_model(name, how, tmp_path):
    model = used(name, how)
    model.save(tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras", name)
    assert type(loaded) is models.get(name)
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded(features()), model(features()))


@pytest.mark.skipif(IS_KERAS_3, reason="Keras 3 loads no SavedModel")
@pytest.mark.parametrize("name", TYPICAL)
def test_a_saved_model_of_keras_gives_the_same_model(name, tmp_path):
    model = used(name, "fitted")
    model.save(tmp_path / "saved", save_format="tf")
    loaded = load(tmp_path / "saved", name)
    np.testing.assert_array_equal(loaded(features()), model(features()))


@pytest.mark.skipif(IS_KERAS_3, reason="Keras 3 saves no SavedModel")
def test_a_saved_model_of_keras_leaves_traced_functions_out(tmp_path):
    model = make("sasrec")
    model.recommend([[1, 2]])
    model.traced_ranks()(
        {**features(), "target": tf.ones([8], tf.int32), "seen": features()["user"][:, tf.newaxis]}
    )
    model.save(tmp_path / "saved", save_format="tf")
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((tmp_path / "saved" / "saved_model.pb").read_bytes())
    # That which writes the weights is TensorFlow's own.
    operations = {
        node.op
        for one in saved.meta_graphs[0].graph_def.library.function
        if "traced_save" not in one.signature.name
        for node in one.node_def
    }
    # XLA, LiteRT and ONNX do not know this operation of `recommend`.
    assert "DisableCopyOnRead" not in operations
    assert "MatMul" in operations


@EACH
@pytest.mark.parametrize("file", ["model.weights.h5", *([] if IS_KERAS_3 else ["weights"])])
def test_weights_of_a_fitted_model_go_into_a_new_one(name, file, tmp_path):
    model = used(name, "fitted")
    model.save_weights(tmp_path / file)
    loaded = type(model).from_config(model.get_config())
    loaded.load_weights(tmp_path / file)
    np.testing.assert_array_equal(loaded(features()), model(features()))


@EACH
def test_a_loaded_model_trains_on(name, tmp_path):
    used(name, "fitted").save(tmp_path / "model.keras")
    model = load(tmp_path / "model.keras", name)
    before = model.get_weights()
    model.compile("adam", loss_of(name))
    model.fit(training_set(name), verbose=0)
    trained = [variable.numpy() for variable in model.trainable_variables]
    assert any(np.abs(one - other).max() > 1e-4 for one, other in zip(trained, before, strict=True))


@pytest.mark.parametrize(("name", "how"), USED)
def test_the_summary_counts_all_parameters(name, how):
    model, lines = used(name, how), []
    model.summary(print_fn=lambda line, **_: lines.append(line))
    count = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    assert any(f"Trainable params: {count} " in line.replace(",", "") for line in lines)


@pytest.mark.parametrize("name", TYPICAL)
def test_the_callbacks_of_keras(name, tmp_path):
    # At such a rate no rank changes: no epoch is better than the first.
    model = make(name)
    model.compile(tf.keras.optimizers.SGD(1e-12), loss_of(name))
    monitor = {"monitor": "val_NDCG@10", "mode": "max"}
    callbacks = [
        tf.keras.callbacks.ModelCheckpoint(
            str(tmp_path / "{epoch}.weights.h5"), save_weights_only=True
        ),
        tf.keras.callbacks.ModelCheckpoint(
            str(tmp_path / "best.keras"), save_best_only=True, **monitor
        ),
        tf.keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5, **monitor),
        tf.keras.callbacks.TensorBoard(str(tmp_path / "events")),
        tf.keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True, **monitor),
    ]
    history = model.fit(
        training_set(name), validation_data=held_out(), epochs=9, callbacks=callbacks, verbose=0
    ).history
    assert np.ptp(history["val_NDCG@10"]) == 0
    rates = history["learning_rate" if IS_KERAS_3 else "lr"]
    np.testing.assert_allclose(rates, [1e-12, 1e-12, 5e-13])
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == [
        f"{epoch}.weights.h5" for epoch in (1, 2, 3)
    ]
    assert {"train", "validation"} <= {path.name for path in (tmp_path / "events").iterdir()}
    best, weights = load(tmp_path / "best.keras", name), type(model).from_config(model.get_config())
    weights.load_weights(tmp_path / "1.weights.h5")
    for other in (best, weights):
        np.testing.assert_allclose(other(features()), model(features()), rtol=1e-6)


class Plain(SequenceModel):
    """A model whose constructor has arguments of all kinds."""

    def __init__(self, num_users, /, num_items, max_length=LENGTH, *, units=(4,), **options):
        super().__init__(num_users, num_items, max_length, **options)
        self.units = units
        self.items = EmbeddingTable(num_items, units[0], name="items")

    def query_vectors(self, features, training=False):
        return tf.reduce_sum(self.items(features["history"]), axis=1)

    def item_tables(self):
        return [self.items]


def test_any_kind_of_argument_is_in_the_config(tmp_path):
    model = Plain(USERS, ITEMS, units=[3, 5], name="plain")
    assert model.get_config() == {
        "num_users": USERS,
        "num_items": ITEMS,
        "max_length": LENGTH,
        "units": [3, 5],
    }
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras", custom_objects={"Plain": Plain})
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded(features()), model(features()))


class Forgetful(Plain):
    """A model that does not keep what it was made with."""

    def __init__(self, num_users, num_items, max_length=LENGTH, *, power=2):
        super().__init__(num_users, num_items, max_length)


def test_an_argument_that_is_not_kept():
    with pytest.raises(TypeError) as caught:
        Forgetful(USERS, ITEMS).get_config()
    assert (
        str(caught.value)
        == "Forgetful must keep its argument power as an attribute of that name to be saved."
    )


ITEM_IDS, USER_IDS = (
    [f"i{one}" for one in range(1, ITEMS + 1)],
    [f"u{one}" for one in range(1, USERS + 1)],
)


@EACH
def test_recommend_of_raw_ids_is_that_of_numbers(name):
    model = make(name)
    numbers, scores = model.recommend([[3, 5], [99, -1, 2]], k=4, users=[2, 77])
    model.set_vocabularies(ITEM_IDS, USER_IDS)
    items, same = model.recommend([["i3", "i5"], ["?", "i2"]], k=4, users=["u2", "nobody"])
    assert items == [[f"i{one}" for one in row] for row in numbers]
    assert same == scores
    expected = model(
        {"user": tf.constant([2]), "history": tf.constant([[0] * (LENGTH - 2) + [3, 5]])}
    ).numpy()[0]
    order = [one for one in np.argsort(-expected, kind="stable").tolist() if one not in (0, 3, 5)]
    assert numbers[0] == order[:4]
    assert (
        model.recommend(iter([["i3", "i5"], ["?", "i2"]]), k=4, users=["u2", "nobody"])[0] == items
    )


def test_recommend_has_a_limited_number_of_scores_at_once(monkeypatch):
    model, histories, rows = make("sasrec"), [[1], [2, 3], [], [5], [4, 1]], []
    expected = model.recommend(histories, k=3)
    traced = model.traced_top_k

    def recording(user, *inputs):
        rows.append(len(user))
        return traced(user, *inputs)

    model.traced_top_k = recording
    assert model.recommend(histories, k=3) == expected
    monkeypatch.setattr("tfrec_attn.evaluation.held_out._BLOCK_ELEMENTS", 2 * ITEMS)
    assert model.recommend(histories, k=3)[0] == expected[0]
    assert rows == [5, 2, 2, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: model.set_vocabularies(["a", "b"]),
            f"items must be {ITEMS} ids, one for each row of the model in order, but are 2.",
        ),
        (
            lambda model: model.set_vocabularies(users=USER_IDS[1:]),
            f"users must be {USERS} ids, one for each row of the model in order, "
            f"but are {USERS - 1}.",
        ),
        (
            lambda model: model.recommend([["i3"]]),
            f"histories must be integers from 1 to {ITEMS} until set_vocabularies names the ids, "
            "but have 'i3'.",
        ),
        (
            lambda model: model.recommend([{"i3"}]),
            f"histories must be integers from 1 to {ITEMS} until set_vocabularies names the ids, "
            "but have 'i3'.",
        ),
        (
            lambda model: model.recommend([[3]], users=["u1"]),
            f"users must be integers from 1 to {USERS} until set_vocabularies names the ids, "
            "but have 'u1'.",
        ),
        (
            lambda model: model.recommend(["abc"]),
            "histories must be a list of lists of ids, but has 'abc'; write [['abc']].",
        ),
        (
            lambda model: model.recommend([3]),
            "histories must be a list of lists of ids, but has 3; write [[3]].",
        ),
        (
            lambda model: model.recommend([[3]], k=0),
            "k must be an integer of at least 1, but is 0.",
        ),
    ],
)
def test_ids_that_cannot_be(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(make("sasrec"))


def fitted_on(features, loss="softmax", name="sasrec"):
    model = make(name)
    model.compile("adam", loss=loss)
    model.fit(tf.data.Dataset.from_tensors(features), verbose=0)


def test_batches_of_another_kind():
    history, user = tf.ones([2, LENGTH], tf.int32), tf.ones([2], tf.int32)
    batch = {"user": user, "history": history, "targets": history, "normalizer": tf.ones([2])}
    message = (
        "A batch of {}, on which {} trains, must have the feature {} of {} dimensions for this "
        "loss, but it {}."
    )
    next_items, windows = ("NextItems", "SASRec"), ("Windows", "AttRec")
    for given, loss, found in [
        ({**batch, "normalizer": tf.ones([2, 1])}, "softmax", ("normalizer", 1, "has 2")),
        ({"user": user, "history": history}, "softmax", ("targets", 2, "is missing")),
        ((user, history), "softmax", ("user", 1, "is missing")),
        (batch, "hinge", ("negatives", 3, "is missing")),
        ({**batch, "negatives": history}, "bce", ("negatives", 3, "has 2")),
    ]:
        with pytest.raises(ValueError, match=re.escape(message.format(*next_items, *found))):
            fitted_on(given, loss)
    expected = message.format(*windows, "negatives", 3, "is missing")
    with pytest.raises(ValueError, match=re.escape(expected)):
        fitted_on(batch, "hinge", "attrec")
    expected = (
        "targets of NextItems, on which SASRec trains, must have the shape of the history, "
        f"(2, {LENGTH}), but have (2, 2)."
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        fitted_on({**batch, "targets": history[:, :2]})


def test_evaluation_on_training_batches():
    model = make("attrec")
    model.compile("adam")
    message = (
        "AttRec must be evaluated on batches of HeldOut, with user, history, target, seen, "
        r"but history is missing\."
    )
    with pytest.raises(ValueError, match=message):
        model.evaluate(tf.data.Dataset.from_tensors({"user": tf.ones([1], tf.int32)}), verbose=0)


def test_what_is_set_later_counts():
    model = make("attrec")
    model.compile("adam", k=[1])
    event = {"user": [0], "history": [[0]], "target": [ITEMS], "seen": [[0]]}
    events = tf.data.Dataset.from_tensors(
        {name: tf.constant(value) for name, value in event.items()}
    )
    for popularity in (np.arange(ITEMS), np.arange(ITEMS)[::-1]):
        model.popularity = (popularity / popularity.sum()).astype(np.float32)
        best = int(np.argmax(popularity)) + 1
        assert model.recommend([[]], k=1)[0] == [[best]]
        assert model.evaluate(events, verbose=0, return_dict=True)["HR@1"] == (best == ITEMS)
    model.trained_items = np.arange(ITEMS) < 3
    assert sorted(model.recommend([[]], k=3)[0][0]) == [1, 2, 3]


def test_metrics_are_those_of_full_ranking():
    with pytest.raises(ValueError, match=r"^metrics must be None, .* set their cut-offs by k\.$"):
        make("attrec").compile("adam", metrics=["accuracy"])
