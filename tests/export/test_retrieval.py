"""Tests of the inverted file against plain NumPy, and of lists and hidden items by hand."""

import numpy as np
import pytest
import tensorflow as tf

from export.index_building import cluster, quantize
from export.retrieval import InvertedFile, deduplicate, hide, hide_listed, top_k
from tfrec_attn.models.base.untrained import FLOOR


def normal(rows, width=4, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def whole_numbers(rows, width=4, seed=0):
    """Vectors whose products are exact and often equal."""
    return np.random.default_rng(seed).integers(-3, 4, (rows, width)).astype(np.float32)


def indexed(vectors, cells, nprobe, int8=False):
    """(index, matrix [N + 1, D'] in its order, offsets, centroids)."""
    order, offsets, centroids = cluster(vectors, cells)
    matrix = np.concatenate([np.zeros([1, vectors.shape[1]], np.float32), vectors[order]])
    return (
        InvertedFile(offsets, centroids, nprobe, quantize(matrix) if int8 else None),
        matrix,
        offsets,
        centroids,
    )


def best_of(query, matrix, rows, k):
    """(scores, rows) of the k largest products, the lower row first; FLOOR and 0 if fewer."""
    found = sorted((-float(matrix[row] @ query), row) for row in rows)[:k]
    found += [(-float(FLOOR), 0)] * (k - len(found))
    return [-score for score, _ in found], [row for _, row in found]


def rows_of_cells(query, offsets, centroids, nprobe):
    return [
        row
        for cell in np.argsort(-(centroids @ query))[:nprobe]
        for row in range(offsets[cell] + 1, offsets[cell + 1] + 1)
    ]


def check(index, queries, matrix, k, rows_for):
    scores, rows = index.search(tf.constant(queries), tf.constant(matrix), k)
    assert (scores.dtype, rows.dtype) == (tf.float32, tf.int32)
    expected = [best_of(query, matrix, rows_for(query), k) for query in queries]
    np.testing.assert_array_equal(rows, [rows for _, rows in expected])
    np.testing.assert_allclose(scores, [scores for scores, _ in expected], rtol=1e-5)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_all_cells_are_exact_search(batch, int8):
    vectors = whole_numbers(60)
    index, matrix, _, centroids = indexed(vectors, 9, 1000, int8)
    assert index.nprobe == len(centroids)
    check(index, whole_numbers(batch, seed=1), matrix, 16, lambda query: range(1, 61))


@pytest.mark.parametrize("nprobe", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 20])
def test_some_cells_are_the_search_among_their_items(batch, nprobe):
    index, matrix, offsets, centroids = indexed(normal(100), 12, nprobe)
    assert np.ptp(np.diff(offsets)) > 2
    check(
        index,
        normal(batch, seed=1),
        matrix,
        7,
        lambda query: rows_of_cells(query, offsets, centroids, nprobe),
    )


@pytest.mark.parametrize("batch", [1, 4])
def test_int8_codes_choose_and_the_rows_score(batch):
    queries = normal(batch, 8, seed=3)
    index, matrix, _, _ = indexed(normal(400, 8), 5, 5, int8=True)
    # Codes of other vectors show which step they decide: 64 items are chosen by them for k = 3, 80
    # for k = 20.
    codes, scales = quantize(normal(401, 8, seed=4))
    index.codes.assign(codes)
    index.scales.assign(scales)
    for k, chosen in ((3, 64), (20, 80)):

        def by_code(query, chosen=chosen):
            return 1 + np.argsort(-(codes[1:].astype(np.float32) @ query) * scales[1:])[:chosen]

        check(index, queries, matrix, k, by_code)


def test_int8_codes_of_the_rows_find_the_best():
    index, matrix, _, _ = indexed(normal(1000, 16), 10, 10, int8=True)
    check(index, normal(10, 16, seed=1), matrix, 10, lambda query: range(1, 1001))


def test_fewer_items_than_k_leave_the_floor():
    index, matrix, _, _ = indexed(whole_numbers(3), 2, 2)
    scores, rows = index.search(tf.constant(whole_numbers(2)), tf.constant(matrix), 5)
    assert (rows.numpy()[:, 3:] == 0).all()
    assert (scores.numpy()[:, 3:] == FLOOR).all()
    assert (rows.numpy()[:, :3] > 0).all()


@pytest.mark.parametrize("int8", [False, True])
def test_no_query_and_no_item_wanted(int8):
    index, matrix, _, _ = indexed(whole_numbers(9), 3, 2, int8)
    for batch, k in ((0, 4), (2, 0), (0, 0)):
        scores, rows = index.search(tf.constant(whole_numbers(batch)), tf.constant(matrix), k)
        assert scores.shape == rows.shape == (batch, k)


@pytest.mark.parametrize("cells", [1, 5])
def test_one_item(cells):
    index, matrix, offsets, _ = indexed(np.array([[1.0, -2.0]], np.float32), cells, 3)
    assert offsets.tolist() == [0, 1]
    scores, rows = index.search(tf.constant([[3.0, 1.0]]), tf.constant(matrix), 2)
    assert rows.numpy().tolist() == [[1, 0]]
    np.testing.assert_array_equal(scores, [[1.0, FLOOR]])


def test_empty_cells_hold_nothing():
    matrix = np.array([[0, 0], [1, 0], [2, 0], [0, 3]], np.float32)
    index = InvertedFile(
        [0, 0, 2, 2, 2, 3, 3], [[1, 0], [0, 1], [5, 5], [2, 2], [-1, 3], [0, -4]], 6
    )
    check(index, np.array([[1, 1], [-1, 2]], np.float32), matrix, 4, lambda query: [1, 2, 3])
    nothing = InvertedFile([0, 0, 3], np.array([[1.0, 0], [0, 1]]), 1)
    scores, rows = nothing.search(tf.constant([[1.0, 0.0]]), tf.constant(matrix), 2)
    assert rows.numpy().tolist() == [[0, 0]]
    assert (scores.numpy() == FLOOR).all()


@pytest.mark.parametrize("int8", [False, True])
def test_in_a_saved_model(tmp_path, int8):
    module = tf.Module()
    module.index, matrix, offsets, centroids = indexed(normal(50), 6, 3, int8)
    module.matrix = tf.Variable(matrix, trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([], tf.int32)])
    def top(queries, k):
        scores, rows = module.index.search(queries, tf.convert_to_tensor(module.matrix), k)
        return {"scores": scores, "rows": rows}

    tf.saved_model.save(module, str(tmp_path), signatures={"top": top})
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signature = tf.compat.v1.saved_model.loader.load(
            session, ["serve"], str(tmp_path)
        ).signature_def["top"]
        names = [signature.outputs[name].name for name in ("scores", "rows")]
        for batch in (0, 1, 3):
            queries = normal(batch, seed=1)
            found = session.run(
                names, {signature.inputs["queries"].name: queries, signature.inputs["k"].name: 4}
            )
            expected = [
                best_of(one, matrix, rows_of_cells(one, offsets, centroids, 3), 4)
                for one in queries
            ]
            np.testing.assert_allclose(
                found[0], np.reshape([scores for scores, _ in expected], [-1, 4]), rtol=1e-5
            )
            np.testing.assert_array_equal(
                found[1], np.reshape([rows for _, rows in expected], [-1, 4])
            )


# --- Hidden items and lists ---


def test_hidden_items_have_the_lowest_score():
    scores = tf.constant([[9.0, 1.0, 2.0, 3.0], [9.0, 4.0, 5.0, 6.0]])
    assert hide(scores, tf.constant([[3, 3, 0], [1, 2, 0]])).numpy().tolist() == [
        [FLOOR, 1, 2, FLOOR],
        [FLOOR, FLOOR, FLOOR, 6],
    ]
    assert hide(scores, tf.zeros([2, 0], tf.int32)).numpy().tolist() == [
        [FLOOR, 1, 2, 3],
        [FLOOR, 4, 5, 6],
    ]
    rows = tf.constant([[3, 0, 1], [7, 2, 7]])
    found = hide_listed(scores[:, 1:], rows, tf.constant([[5, 1], [2, 2]])).numpy().tolist()
    assert found == [[1, FLOOR, FLOOR], [4, FLOOR, 6]]
    assert hide_listed(scores[:, 1:], rows, tf.zeros([2, 0], tf.int32)).numpy().tolist() == [
        [1, FLOOR, 3],
        [4, 5, 6],
    ]


def test_top_k_of_a_list():
    scores, rows = (
        tf.constant([[1.0, 3.0, 3.0], [FLOOR, 2.0, FLOOR]]),
        tf.constant([[8, 9, 7], [0, 4, 0]]),
    )
    for k, expected in (
        (0, [[], []]),
        (1, [[9], [4]]),
        (2, [[9, 7], [4, 0]]),
        (5, [[9, 7, 8, 0, 0], [4, 0, 0, 0, 0]]),
    ):
        assert top_k(scores, rows, k)[1].numpy().tolist() == expected
    assert top_k(scores, rows, 5)[0].numpy().tolist() == [
        [3, 3, 1, FLOOR, FLOOR],
        [2] + [FLOOR] * 4,
    ]


def test_deduplicated_rows():
    assert deduplicate(tf.constant([[5, 2, 5, 0, 5], [0, 3, 1, 3, 0]])).numpy().tolist() == [
        [0, 2, 5, 0, 0],
        [0, 0, 1, 3, 0],
    ]
