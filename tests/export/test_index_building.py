"""Serving through an index: as many cells as asked for or needed, and the answers that the exact
search gives of the same items.
"""

import numpy as np
import polars as pl
import pytest

from export import index_building
from export.index_building import build_index
from export.saved_model import save
from export.servable import Servable
from export.session import Session
from tfrec_attn import models

ITEMS, LENGTH = 200, 4
FLOOR = np.finfo(np.float32).min


@pytest.fixture(scope="module")
def events(make_model):
    """Held-out events of random histories, some longer than the window, one empty."""
    model, random = make_model("attrec", items=ITEMS), np.random.default_rng(5)
    items, users = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    histories = [
        [items[place] for place in random.integers(0, ITEMS, length)]
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


def answers(folder, requests):
    with Session(folder) as session:
        return {
            signature: session.run(signature, **values) for signature, values in requests.items()
        }


@pytest.mark.parametrize(
    ("name", "int8"), [*((name, False) for name in models.names()), (models.names()[0], True)]
)
def test_all_cells_give_the_answers_of_the_exact_search(name, int8, make_model, events, tmp_path):
    model, counts = make_model(name, items=ITEMS), np.arange(ITEMS)
    indexed, order, index, facts = build_index(model, events, cells=9, nprobe=9, int8=int8)
    assert facts == {"kind": "ivf", "cells": facts["cells"], "nprobe": facts["cells"], "int8": int8}
    assert sorted(order) == list(range(ITEMS))
    save(Servable(model, counts, max_k=20), tmp_path / "exact")
    save(Servable(indexed, counts[order], max_k=20, index=index), tmp_path / "indexed")
    rows, items = len(events), model.item_vocabulary.ids()
    asked = request(events)
    empty = {"user_id": ["nobody"], "history": [["", "?"]]}
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
    }
    found, expected = (answers(tmp_path / one, requests) for one in ("indexed", "exact"))
    for signature, outputs in expected.items():
        for output, values in outputs.items():
            if values.dtype == object:
                assert found[signature][output].tolist() == values.tolist()
            else:
                np.testing.assert_allclose(found[signature][output], values, rtol=1e-4, atol=1e-5)
    popular = answers(tmp_path / "indexed", {"serving_default": empty})["serving_default"]
    assert popular["source"].tolist() == [b"popular"]
    assert [one.decode() for one in popular["items"][0]] == items[:-11:-1]


def test_with_few_cells_the_seen_stay_out_and_some_are_missed(make_model, events, tmp_path):
    model, counts = make_model("sasrec", items=ITEMS), np.arange(ITEMS)
    indexed, order, index, facts = build_index(model, events, cells=20, nprobe=1)
    save(Servable(indexed, counts[order], index=index), tmp_path)
    asked = request(events)
    result = answers(tmp_path, {"serving_default": asked})["serving_default"]
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
    assert (facts["nprobe"], index.nprobe) == (1, 1)


def test_the_fewest_cells_that_reach_the_recall(make_model, events, monkeypatch):
    """Recall counted with a loop over the places of the items in the cells."""
    model, events, chosen = (
        make_model("sasrec", items=ITEMS),
        events.filter(pl.col("history").list.len() > 0),
        {},
    )
    for recall in (0.1, 0.6, 0.9, 1.0):
        monkeypatch.setattr(index_building, "RECALL", recall)
        _, order, index, facts = build_index(model, events, cells=20)
        chosen[recall] = facts["nprobe"]
    offsets, centroids, count = index.offsets.numpy(), index.centroids.numpy(), facts["cells"]
    cell = np.repeat(np.arange(count), np.diff(offsets))
    histories = [model.item_vocabulary.lookup(history) for history in events["history"].to_list()]
    place = {item + 1: place for place, item in enumerate(order)}
    recalls = {}
    for nprobe in range(1, count + 1):
        shares = []
        for history in histories:
            latest = np.pad(history[-LENGTH:], (max(LENGTH - len(history), 0), 0)).astype(np.int32)
            query = model.query_vectors(
                {"user": np.array([0]), "history": latest[np.newaxis]}
            ).numpy()[0]
            probed = set(np.argsort(-(centroids @ query))[:nprobe])
            scores = model.item_vectors().numpy() @ query
            best = [item for item in np.argsort(-scores) if item and item not in history][:10]
            shares.append(np.mean([cell[place[item]] in probed for item in best]))
        recalls[nprobe] = np.mean(shares)
    steps = [step for step in (1, 2, 3, 4, 6, 8, 12, 16, 24) if step < count] + [count]
    assert chosen == {
        recall: next(step for step in steps if recalls[step] >= recall) for recall in chosen
    }
    assert len(set(chosen.values())) >= 3
