"""Tests of indexes: their cells against NumPy, their recall, and what a servable finds by them."""

import itertools

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from export import index_building
from export.index_building import build_index, cluster, quantize
from export.saved_model import save
from export.servable import Servable
from tfrec_attn.models.base.untrained import FLOOR
from tfrec_attn.runtime.runner import Runner

ITEMS, LENGTH = 200, 4


@pytest.fixture(scope="module")
def events(make_model):
    """Held-out events of random histories, some longer than the window, one empty."""
    model, random = make_model("attrec", items=ITEMS), np.random.default_rng(5)
    items, users = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    histories = [
        [items[index] for index in random.integers(0, ITEMS, length)]
        for length in [0, 1, 2, 3, 7, 9, 20] * 5
    ]
    return pl.DataFrame(
        {
            "user_id": [users[row % len(users)] for row in range(len(histories))],
            "history": histories,
            "target": items[: len(histories)],
        },
        schema={"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String},
    )


def request(events):
    width = 1 + max(map(len, events["history"]))
    history = [[""] * (width - len(row)) + row for row in events["history"].to_list()]
    return {"user_id": events["user_id"].to_list(), "history": history}


def run(folder, requests):
    """Responses of a SavedModel: signature -> outputs."""
    with Runner(folder, optimize=False) as runner:
        return {
            signature: runner.run(signature, **inputs) for signature, inputs in requests.items()
        }


def run_in_python(servable, requests):
    """Responses of a servable's functions, without tracing them."""
    return {
        signature: {
            name: output.numpy()
            for name, output in getattr(servable, signature)(
                **{name: tf.constant(array) for name, array in inputs.items()}
            ).items()
        }
        for signature, inputs in requests.items()
    }


def listed(outputs):
    """The prior of each row as a dict."""
    rows = zip(outputs["prior_items"].tolist(), outputs["prior_scores"].tolist(), strict=True)
    return [dict(zip(items, values, strict=True)) for items, values in rows]


@pytest.mark.parametrize(
    ("name", "int8"), [("attrec", True), ("sasrec", False), ("decayed_transitions", False)]
)
def test_an_index_that_scans_all_cells_is_exact(name, int8, make_model, events, tmp_path):
    model, counts = make_model(name, items=ITEMS), np.arange(ITEMS)
    indexed, order, index, description = build_index(model, events, cells=9, nprobe=9, int8=int8)
    cells = description["cells"]
    assert description == {"kind": "ivf", "cells": cells, "nprobe": cells, "int8": int8}
    assert sorted(order) == list(range(ITEMS))
    about = [("", "ABCD"[item % 4]) for item in range(ITEMS)] if name == "sasrec" else []
    ordered = [about[place] for place in order] if about else []
    save(Servable(indexed, counts[order], max_k=20, index=index, items=ordered), tmp_path)
    rows, items = len(events), model.item_vocabulary.ids()
    asked = request(events)
    lists = {
        "exclude": [[items[3], items[190]]] * rows,
        "allow": [[""]] * (rows - 1) + [[items[7]]],
        "k": [20] * rows,
    }
    requests = {
        "serving_default": asked,
        "recommend": {**asked, **lists},
        "score": {**asked, "candidates": [items[5:9]] * rows},
        "embed": asked,
        "embed_items": {"item": [items[4], "?"]},
        "explain": {**asked, "item": events["target"].to_list()},
        "similar": {"item": [items[4], items[9]], "by": ["cosine", "score"], "k": [5, 20]},
    }
    if about:
        requests["recommend_diverse"] = {
            **asked,
            **lists,
            "allow_category": [["A"]] + [[""]] * (rows - 1),
            "per_category": [3] * rows,
            "popularity_penalty": [0.1] * rows,
            "diversity": [0.3] * rows,
        }
    found = run(tmp_path, requests)
    for signature, outputs in run_in_python(
        Servable(model, counts, max_k=20, items=about), requests
    ).items():
        for output, expected in outputs.items():
            if output == "prior_items":
                for one, other in zip(listed(found[signature]), listed(outputs), strict=True):
                    assert one == pytest.approx(other, rel=1e-5)
            elif output == "prior_scores":
                continue  # In the order of the rows, as the items.
            elif expected.dtype == object:
                assert found[signature][output].tolist() == expected.tolist()
            else:
                np.testing.assert_allclose(found[signature][output], expected, rtol=1e-4, atol=1e-5)
    unknown = {"user_id": ["nobody"], "history": [["", "?"]]}
    popular = run(tmp_path, {"serving_default": unknown})["serving_default"]
    assert popular["source"].tolist() == [b"popular"]
    assert [one.decode() for one in popular["items"][0]] == items[:-11:-1]


def test_an_index_with_few_cells_misses_items_and_hides_seen_ones(make_model, events, tmp_path):
    model, counts = make_model("sasrec", items=ITEMS), np.arange(ITEMS)
    indexed, order, index, description = build_index(model, events, cells=20, nprobe=1)
    save(Servable(indexed, counts[order], index=index), tmp_path)
    asked = request(events)
    result = run(tmp_path, {"serving_default": asked})["serving_default"]
    _, exact = model.recommend(events["history"].to_list(), 10)
    missed = 0
    for row, (items, scores) in enumerate(zip(result["items"], result["scores"], strict=True)):
        kept = [one.decode() for one in items if one]
        assert not set(kept) & set(events["history"][row])
        assert len(set(kept)) == len(kept)
        assert [one == b"" for one in items] == [score == FLOOR for score in scores]
        if result["source"][row] == b"model":
            assert (scores[: len(kept)] <= np.array(exact[row])[: len(kept)] + 1e-5).all()
            missed += (
                np.count_nonzero(np.array(exact[row])[: len(kept)] - scores[: len(kept)] > 1e-4)
                + 10
                - len(kept)
            )
    assert missed > 0
    assert (description["nprobe"], index.nprobe) == (1, 1)


def test_the_fewest_cells_that_reach_the_recall(make_model, events, monkeypatch):
    """The recall is counted with a loop over the cells of the items."""
    model, events, chosen = (
        make_model("sasrec", items=ITEMS),
        events.filter(pl.col("history").list.len() > 0),
        {},
    )
    for recall in (0.1, 0.6, 0.9, 1.0):
        monkeypatch.setattr(index_building, "RECALL", recall)
        _, order, index, description = build_index(model, events, cells=20)
        chosen[recall] = description["nprobe"]
    offsets, centroids, count = index.offsets.numpy(), index.centroids.numpy(), description["cells"]
    cell = np.repeat(np.arange(count), np.diff(offsets))
    histories = [model.item_vocabulary.lookup(history) for history in events["history"].to_list()]
    position = {item + 1: position for position, item in enumerate(order)}
    vectors, shares = model.item_vectors().numpy(), []
    for history in histories:
        latest = np.pad(history[-LENGTH:], (max(LENGTH - len(history), 0), 0)).astype(np.int32)
        query = model.query_vectors({"user": np.array([0]), "history": latest[np.newaxis]})
        query = query.numpy()[0]
        nearest = np.argsort(-(centroids @ query)).tolist()
        order = np.argsort(-(vectors @ query))
        best = [item for item in order if item and item not in history][:10]
        places = np.array([nearest.index(cell[position[item]]) for item in best])
        shares.append([np.mean(places < nprobe) for nprobe in range(1, count + 1)])
    recalls = dict(enumerate(np.mean(shares, axis=0), start=1))
    steps = [step for step in (1, 2, 3, 4, 6, 8, 12, 16, 24) if step < count] + [count]
    assert chosen == {
        recall: next(step for step in steps if recalls[step] >= recall) for recall in chosen
    }
    assert len(set(chosen.values())) >= 3


# --- Cells and codes ---


def blobs(count=6, each=30, width=8):
    random = np.random.default_rng(5)
    centres = 10 * random.normal(size=(count, width))
    return (np.repeat(centres, each, axis=0) + random.normal(size=(count * each, width))).astype(
        np.float32
    )


def test_cells_are_a_permutation_with_their_means():
    vectors = blobs()
    order, offsets, centroids = cluster(vectors, 25)
    assert (order.dtype, offsets.dtype, centroids.dtype) == (np.int64, np.int64, np.float32)
    assert sorted(order) == list(range(len(vectors)))
    assert (offsets[0], offsets[-1]) == (0, len(vectors))
    assert (np.diff(offsets) > 0).all()
    for cell, centroid in enumerate(centroids):
        np.testing.assert_allclose(
            centroid,
            vectors[order[offsets[cell] : offsets[cell + 1]]].mean(axis=0),
            rtol=1e-4,
            atol=1e-4,
        )


def test_a_cell_has_items_of_one_kind():
    order, offsets, _ = cluster(blobs(count=6, each=30), 24)
    kinds = order // 30
    assert all(len(set(kinds[begin:end])) == 1 for begin, end in itertools.pairwise(offsets))


def test_lengths_part_items_of_one_direction():
    # The added column is sqrt(100 - 1) for the short ones and about 0 for the long ones, whose
    # directions differ by far less.
    random = np.random.default_rng(0)
    directions = np.array([1.0, 0.0]) + 0.01 * random.normal(size=(40, 2))
    lengths = np.where(np.arange(40) % 2, 1.0, 10.0)
    vectors = (
        lengths[:, np.newaxis] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    )
    order, offsets, _ = cluster(vectors, 2)
    assert sorted(map(sorted, np.split(order, offsets[1:-1]))) == [
        list(range(0, 40, 2)),
        list(range(1, 40, 2)),
    ]


def test_the_same_seed_gives_the_same_cells():
    vectors = np.random.default_rng(0).normal(size=(300, 4))
    one, two, other = (cluster(vectors, 20, seed) for seed in (7, 7, 8))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(one[0], other[0])


def test_items_that_are_all_alike():
    order, offsets, centroids = cluster(np.ones([50, 3]), 7)
    assert order.tolist() == list(range(50))
    assert offsets.tolist() == [0, 50]
    np.testing.assert_allclose(centroids, [[1, 1, 1]])


def test_a_sample_trains_the_cells_of_all():
    # 64 a cell: 2 cells are trained on 128 of 1,000.
    order, offsets, _ = cluster(blobs(count=2, each=500), 2)
    assert sorted(map(sorted, np.split(order, offsets[1:-1]))) == [
        list(range(500)),
        list(range(500, 1000)),
    ]


def test_codes_are_within_half_a_step():
    vectors = np.random.default_rng(1).normal(size=(20, 6)) * np.logspace(-3, 3, 20)[:, np.newaxis]
    vectors[4] = 0
    codes, scales = quantize(vectors)
    assert (codes.dtype, scales.dtype) == (np.int8, np.float32)
    assert (np.abs(codes).max(axis=1) == np.where(np.arange(20) == 4, 0, 127)).all()
    assert (np.abs(codes * scales[:, np.newaxis] - vectors) <= 0.501 * scales[:, np.newaxis]).all()
