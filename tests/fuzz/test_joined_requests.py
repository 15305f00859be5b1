"""Random joined texts: each row of a batch has the result of its ids alone."""

import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.saved_model import save
from export.servable import Servable
from tests.models.contract import TYPICAL
from tfrec_attn import models
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.runtime.runner import Runner

FUZZ = float(os.environ.get("TFREC_FUZZ") or 1)
LENGTH, ITEMS = 3, ["a", "b", "日本語", " ", "x y", "é", "0", "-1", "aa", "b\\t"]
SEPARATORS = ["\t", "|"]
ID = st.one_of(
    st.sampled_from([*ITEMS, ""]),
    st.text(st.characters(exclude_characters=SEPARATORS, codec="utf-8"), max_size=4),
)
IDS = st.lists(ID, max_size=7)
# Texts that no client makes: separators at the ends, and several in a row.
RAW = st.lists(st.sampled_from([*ITEMS, "?", "<sep>", "<sep>", "<sep>"]), max_size=9).map("".join)
ROW = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u1", "u2", "nobody", ""]),
        **{
            name: st.one_of(IDS.map("<sep>".join), RAW)
            for name in ("history", "exclude", "allow", "candidates")
        },
        "item": ID,
        "k": st.one_of(st.integers(-3, 12), st.sampled_from([-(2**31), 2**31 - 1])),
    }
)
LISTS = ("history", "exclude", "allow", "candidates")
SIGNATURES = ["serving_default", "recommend", "score", "embed", "explain"]


@pytest.fixture(scope="module", params=zip(TYPICAL, SEPARATORS * 9), ids=lambda pair: pair[0])
def served(request, tmp_path_factory):
    """(session, separator) of an untrained model."""
    name, separator = request.param
    tf.random.set_seed(3)
    model = models.get(name)(2, len(ITEMS), LENGTH, dim=4)
    model.user_vocabulary, model.item_vocabulary = Vocabulary(["u1", "u2"]), Vocabulary(ITEMS)
    folder = tmp_path_factory.mktemp("saved")
    save(Servable(model, np.arange(len(ITEMS)), k=4, max_k=6, separator=separator), folder)
    with Runner(folder, optimize=False) as session:
        yield session, separator


@settings(
    max_examples=round(25 * FUZZ),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(ROW, min_size=1, max_size=5), signature=st.sampled_from(SIGNATURES))
def test_a_joined_row_is_its_ids(served, rows, signature):
    session, separator = served
    inputs = session.signatures[signature][0]
    texts = [
        {
            name: value.replace("<sep>", separator) if name in LISTS else value
            for name, value in row.items()
        }
        for row in rows
    ]
    together = session.run(
        f"{signature}_joined", **{name: [row[name] for row in texts] for name in inputs}
    )
    for place, row in enumerate(texts):
        ids = {name: row[name].split(separator) if name in LISTS else row[name] for name in inputs}
        alone = session.run(signature, **{name: [value] for name, value in ids.items()})
        assert together["separator"][place].decode() == separator
        for name, values in alone.items():
            own = (
                together[name][place]
                if values.ndim == 1
                else together[name][place][: values.shape[1]]
            )
            if values.dtype.kind == "f":
                np.testing.assert_allclose(own, values[0], rtol=1e-4, atol=1e-5)
            else:
                assert np.all(own == values[0])
