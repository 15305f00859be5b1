"""A servable gives the queries and the lists of the model that it was exported from."""

import numpy as np
import pytest

from tfrec_attn.lists.model_source import ModelSource
from tfrec_attn.lists.recommender import Recommender
from tfrec_attn.lists.servable_source import ServableSource
from tfrec_attn.lists.user_histories import UserBatch


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
