"""Tests of a served model with a prior of the history: all signatures score as the model."""

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from export.index_building import quantize
from export.model_copy import permute_items
from export.retrieval import InvertedFile
from export.saved_model import save
from export.servable import Servable
from tests.outside.again import Again
from tfrec_attn.replay.event_ranking import rank_events
from tfrec_attn.runtime.runner import Runner

ITEMS = [f"i{one}" for one in range(1, 13)]
HISTORIES = [["i1", "i2", "i3", "i4"], ["", "", "i7", "i12"]]


def make_model():
    model = Again(2, len(ITEMS), 4)
    model.set_vocabularies(ITEMS, ["u1", "u2"])
    return model


@pytest.fixture(scope="module", params=["all items", "index", "quantised index"])
def served(request, tmp_path_factory):
    """(model, runner) without an index, or with one that scans all cells."""
    model, index = make_model(), None
    exported = model
    if request.param != "all items":
        exported = permute_items(model, np.random.default_rng(1).permutation(len(ITEMS)))
        offsets, centroids = [0, 5, 12], np.eye(2, 4, dtype=np.float32)
        codes = (
            quantize(exported.item_vectors().numpy())
            if request.param == "quantised index"
            else None
        )
        index = InvertedFile(offsets, centroids, 2, codes)
    folder = tmp_path_factory.mktemp("prior")
    save(
        Servable(exported, np.ones(len(ITEMS)), k=12, max_k=12, keep_seen=True, index=index), folder
    )
    runner = Runner(folder, optimize=False)
    yield model, runner
    runner.close()


def scores_of(model, history):
    """Id -> score by the model; "" is padding."""
    known = [ITEMS.index(one) + 1 if one else 0 for one in history]
    scores = model({"user": tf.constant([0]), "history": tf.constant([known])}).numpy()[0, 1:]
    return dict(zip(ITEMS, scores, strict=True))


def test_recommendations_are_those_of_the_model(served):
    model, runner = served
    ids, _ = model.recommend(
        [[one for one in row if one] for row in HISTORIES], k=12, exclude_seen=False
    )
    for signature in ("serving_default", "recommend"):
        more = (
            {}
            if signature == "serving_default"
            else {"exclude": [[""]] * 2, "allow": [[""]] * 2, "k": [12, 12]}
        )
        answer = runner.run(signature, user_id=["u1", "u2"], history=HISTORIES, **more)
        for row, history in enumerate(HISTORIES):
            found = [one.decode() for one in answer["items"][row]]
            assert found == ids[row]
            expected = scores_of(model, history)
            np.testing.assert_allclose(
                answer["scores"][row], [expected[one] for one in found], rtol=1e-5, atol=1e-5
            )


def test_lists_and_candidates_have_the_same_scores(served):
    model, runner = served
    expected, wanted = scores_of(model, HISTORIES[0]), ["i4", "i9", "i1"]
    scored = runner.run("score", user_id=["u1"], history=HISTORIES[:1], candidates=[wanted])[
        "scores"
    ][0]
    np.testing.assert_allclose(scored, [expected[one] for one in wanted], rtol=1e-5, atol=1e-5)
    answer = runner.run(
        "recommend", user_id=["u1"], history=HISTORIES[:1], exclude=[[""]], allow=[wanted], k=[3]
    )
    assert [one.decode() for one in answer["items"][0]] == ["i4", "i9", "i1"]
    np.testing.assert_allclose(answer["scores"][0], scored, rtol=1e-6)


def test_explanations_include_the_prior(served):
    model, runner = served
    found = runner.run("explain", user_id=["u1"], history=HISTORIES[:1], item=["i4"])[
        "contribution"
    ][0]
    whole = scores_of(model, HISTORIES[0])["i4"]
    for event in range(4):
        rest = ["", *HISTORIES[0][:event], *HISTORIES[0][event + 1 :]]
        np.testing.assert_allclose(
            found[event], whole - scores_of(model, rest)["i4"], rtol=1e-4, atol=1e-5
        )
    assert found[3] > 8


def test_held_out_events_are_ranked_with_the_prior(served):
    model, runner = served
    cases = [
        (["i1", "i2", "i3", "i4"], "i4"),
        (["i1", "i2", "i3", "i4"], "i1"),
        (["i7", "i12"], "i12"),
        (["i7", "i12"], "i5"),
    ]
    expected = []
    for history, target in cases:
        scores = scores_of(model, [""] * (4 - len(history)) + history)
        expected.append(sum(score >= scores[target] for score in scores.values()))
    assert expected[:3] == [1, 12, 1]

    columns = {"user_id": ["u1"] * 4, "history": [one for one, _ in cases]}
    events = pl.DataFrame({**columns, "target": [target for _, target in cases]})

    def with_texts(signature, **inputs):
        """The outputs with str in the place of bytes, as a client gives them."""
        outputs = runner.run(signature, **inputs)
        return {
            name: np.vectorize(bytes.decode, otypes=[object])(value)
            if value.dtype == object
            else value
            for name, value in outputs.items()
        }

    for predict in (runner.run, with_texts):
        found = rank_events(predict, events, ITEMS, 12, repeats="include", keep_seen=True)
        assert found.rank.tolist() == found.listed.tolist() == expected
