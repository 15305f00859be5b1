"""Item matrices in fewer bytes: against NumPy, in a servable, and by the command."""

import json

import numpy as np
import pytest
import tensorflow as tf

from export import command, compact_matrix, verify
from export.compact_matrix import CompactMatrix
from tfrec_attn.runtime.runner import Runner

COMPACT = pytest.mark.parametrize("kind", ["int8", "bfloat16"])
RANDOM = np.random.default_rng(8)


def rounded(vectors, kind):
    """The vectors as the matrix holds them: int8 steps of max / 127, or 8 bits of mantissa."""
    if kind == "int8":
        scales = np.abs(vectors).max(axis=1, keepdims=True) / 127
        return np.rint(vectors / np.where(scales > 0, scales, 1)) * scales
    mantissa, exponent = np.frexp(vectors)
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent)


def test_int8_by_hand():
    # The scales are 2, 0 and 1: 254 is 127 steps of 2, and 3.1 is 2 of them.
    matrix = CompactMatrix(np.array([[254, 3.1], [0, 0], [-127, 1.4]], np.float32), "int8")
    assert matrix.codes.numpy().tolist() == [[127, 2], [0, 0], [-127, 1]]
    assert matrix.rows(tf.constant([[2], [0]])).numpy().tolist() == [[[-127, 1]], [[254, 4]]]
    assert matrix.products(tf.constant([[1.0, 10.0]])).numpy().tolist() == [[294, 0, -117]]


@COMPACT
@pytest.mark.parametrize("part", [1, 12, 1 << 17])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_products_part_by_part(kind, part, batch, monkeypatch):
    # 12 numbers of width 3 are 4 of the 10 rows: the last part is padded.
    monkeypatch.setattr(compact_matrix, "_PART", part)
    vectors = RANDOM.normal(size=(10, 3)).astype(np.float32)
    vectors[0] = 0
    matrix, expected = CompactMatrix(vectors, kind), rounded(vectors, kind)
    queries = RANDOM.normal(size=(batch, 3)).astype(np.float32)
    np.testing.assert_allclose(matrix.products(queries), queries @ expected.T, atol=1e-5)
    np.testing.assert_allclose(matrix.rows(tf.range(10)), expected, atol=1e-6)
    assert np.abs(expected - vectors).max() > 1e-4


@COMPACT
def test_a_servable_scores_with_the_vectors_that_it_returns(kind, served):
    model, _, runner = served("sasrec", matrix=kind)
    items = model.item_vocabulary.ids()
    expected = rounded(model.item_vectors().numpy(), kind)[1:]
    vectors = runner.run("embed_items", item=items)["vector"]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    request = {"user_id": ["", ""], "history": [["", items[3], items[5]], ["", "", items[0]]]}
    scores = runner.run("embed", **request)["query"] @ expected.T
    candidates = runner.run("score", **request, candidates=[items] * 2)["scores"]
    np.testing.assert_allclose(candidates, scores, atol=1e-5)
    scores[0, [3, 5]] = scores[1, 0] = -np.inf
    best = runner.run("serving_default", **request)
    order = np.argsort(-scores)[:, :5]
    assert [[one.decode() for one in row] for row in best["items"]] == [
        [items[index] for index in row] for row in order
    ]
    np.testing.assert_allclose(best["scores"], np.take_along_axis(scores, order, 1), atol=1e-5)
    # The history too is read in the matrix: the queries are those of a model with these vectors.
    twin = model.twin()
    twin.set_weights(model.get_weights())
    twin.items.embeddings.assign(np.pad(expected, ((1, 0), (0, 0))))
    rows = tf.constant([[0, 0, 4, 6], [0, 0, 0, 1]])
    of_twin = twin.queries({"user": tf.zeros([2], tf.int32), "history": rows})
    np.testing.assert_allclose(runner.run("embed", **request)["query"], of_twin, atol=1e-4)
    near = runner.run("similar", item=items[:1], by=["score"], k=[3])["items"][0]
    assert items[0] not in [one.decode() for one in near]


def test_an_export_states_the_recall_and_is_verified(run_folder, tmp_path, no_warmup, capsys):
    run, kind = run_folder("sasrec"), "int8"
    command.main([str(run), "--to", str(tmp_path), "--matrix", kind])
    out = capsys.readouterr().out
    card = json.loads((tmp_path / "1" / "assets.extra" / "model_card.json").read_text())
    matrix = card["serving"]["matrix"]
    assert (matrix["kind"], card["serving"]["index"]) == (kind, None)
    assert 0.8 < matrix["recall@10"] <= 1
    assert f"30 test histories: recall@10 {matrix['recall@10']}, median" in out
    assert f"The item vectors are {kind} (recall@10 {matrix['recall@10']}" in (
        tmp_path / "1" / "assets.extra" / "README.md"
    ).read_text(encoding="utf-8")
    assert verify.main([str(tmp_path), "--run", str(run)]) == 0
    # Two of the test events, of which there are 30.
    assert "With its int8 vectors, the servable has the metrics of its run up to 0." in (
        capsys.readouterr().out
    )
    shapes = tf.train.list_variables(str(tmp_path / "1" / "variables" / "variables"))
    wide = [
        tf.train.load_variable(str(tmp_path / "1" / "variables" / "variables"), name).dtype
        for name, shape in shapes
        if shape == [25, 8]
    ]
    assert [one.name for one in wide] == [kind]
    with Runner(tmp_path / "1", optimize=False) as runner:
        assert runner.run("serving_default", user_id=[""], history=[[""]])["source"] == [b"popular"]
