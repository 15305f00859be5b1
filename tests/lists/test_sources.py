"""A servable gives the queries and the lists of the model that it was exported from."""

import numpy as np
import pytest

from tfrec_attn.lists.model_source import ModelSource
from tfrec_attn.lists.recommender import Recommender
from tfrec_attn.lists.servable_source import ServableSource
from tfrec_attn.lists.user_histories import UserBatch


# Of histories, of users and histories, of users alone, and of counts as a prior.
@pytest.mark.parametrize("name", ["sasrec", "attrec", "bpr_mf", "transition"])
def test_a_servable_gives_the_lists_of_its_model(name, served):
    model, _, runner = served(name)
    ids, known = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    random = np.random.default_rng(2)
    users = [*known, "", "stranger", known[0], "stranger"]
    histories = [[ids[item] for item in random.permutation(12)[:length]] for length in range(8)]
    histories = [[*one, "?"] for one in histories] + [[], ["?", "!"]]
    batch = UserBatch.of(users, histories)
    found = []
    for source in (ModelSource(model, None), ServableSource(runner.path)):
        assert not source.keep_seen
        assert source.items == ids
        found.append(Recommender(source, 6).recommend(batch))
    one, other = found
    assert one.rows.tolist() == other.rows.tolist()
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
    assert one.popular.tolist() == other.popular.tolist()
    # The same as a request of each user.
    for row, (user, history) in enumerate(zip(users, histories, strict=True)):
        asked = runner.run(
            "recommend",
            user_id=[user],
            history=np.array([history or [""]], object),
            exclude=[[""]],
            allow=[[""]],
            k=[6],
        )
        items = [item.decode() for item in asked["items"][0] if item]
        assert items == [ids[item - 1] for item in one.rows[row] if item]
        assert one.popular[row] == (asked["source"][0] == b"popular")
