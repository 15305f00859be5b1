"""A servable gives the queries and the lists of the model that it was exported from."""

import numpy as np
import pytest

from tfrec_attn.lists.model_source import ModelSource
from tfrec_attn.lists.recommender import Recommender
from tfrec_attn.lists.servable_source import ServableSource
from tfrec_attn.lists.user_histories import UserBatch
from tfrec_attn.runtime.runner import Runner


# Of users and histories, of users alone, and of counts as a prior.
@pytest.mark.parametrize("name", ["attrec", "bpr_mf", "transition"])
def test_a_servable_gives_the_lists_of_its_model(name, served):
    model, _, runner = served(name)
    ids, known = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    random = np.random.default_rng(2)
    users = [*known, "", "stranger", known[0], "stranger"]
    histories = [[ids[item] for item in random.permutation(12)[:length]] for length in range(8)]
    histories = [[*one, "?"] for one in histories] + [[], ["?", "!"]]
    batch = UserBatch.of(users, histories)
    found = []
    for source in (ModelSource(model, None), ServableSource(runner)):
        assert not source.keep_seen
        assert source.items == ids
        found.append(Recommender(source, 6).recommend(batch))
    one, other = found
    assert one.rows.tolist() == other.rows.tolist()
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
    assert one.popular.tolist() == other.popular.tolist()
    # The same as the response to a request.
    history = np.array([one + [""] * (8 - len(one)) for one in histories], object)
    empty = np.full((len(users), 1), "", object)
    asked = runner.run(
        "recommend", user_id=users, history=history, exclude=empty, allow=empty, k=[6] * len(users)
    )
    names = ["", *ids]
    assert asked["items"].tolist() == [[names[one].encode() for one in row] for row in one.rows]
    assert one.popular.tolist() == (asked["source"] == b"popular").tolist()


def test_reranked_lists_are_those_of_the_signature(served):
    model, _, runner = served("sasrec", diverse=True)
    ids, source = model.item_vocabulary.ids(), ModelSource(model, None)
    histories = [[ids[3]], [ids[1], ids[8], ids[2]], []]
    wish = {"popularity_penalty": 0.3, "diversity": 0.4}
    found = Recommender(source, 5, **wish).recommend(UserBatch.of([""] * 3, histories))
    empty = np.full((3, 1), "", object)
    asked = runner.run(
        "recommend_diverse",
        user_id=[""] * 3,
        history=np.array([one + [""] * (3 - len(one)) for one in histories], object),
        **dict.fromkeys(("exclude", "allow", "allow_category"), empty),
        k=[5] * 3,
        per_category=[0] * 3,
        **{name: [value] * 3 for name, value in wish.items()},
    )
    names = ["", *ids]
    assert asked["items"].tolist() == [[names[one].encode() for one in row] for row in found.rows]
    np.testing.assert_allclose(found.scores, asked["scores"], rtol=1e-5)


def test_a_servable_says_which_columns_are_points(exported):
    run_folder, folder, _ = exported("attrec")
    with Runner(folder, optimize=False) as runner:
        points = ServableSource(runner).points.tolist()
    assert points == ModelSource.of_run(run_folder).points.tolist()
    assert True in points and False in points
