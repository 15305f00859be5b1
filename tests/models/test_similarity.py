"""Similar items in Python: worked by hand, for inner products and for distances."""

import numpy as np
import pytest

from tests.models import worked
from tfrec_attn import models

# Item 2 points as item 1 does, and has a greater bias; item 3 points elsewhere.
POINTS, BIASES = [[1, 0], [3, 4], [0, -2]], [[0.5], [4.0], [-1.0]]


def bpr_mf():
    model = models.get("bpr_mf")(2, 3, 4, dim=2)
    worked.fill(model.items, POINTS)
    worked.fill(model.biases, BIASES)
    return model


def test_cosine_leaves_biases_out_and_the_score_has_them():
    model = bpr_mf()
    items, scores = model.similar([1, 3], k=5)
    assert items == [[2, 3], [1, 2]]
    np.testing.assert_allclose(np.concatenate(scores), [0.6, 0.0, 0.0, -0.8], atol=1e-6)
    items, scores = model.similar([1], k=1, by="score")
    # (1, 0) . (3, 4) + 4
    assert (items, scores) == ([[2]], [[pytest.approx(7.0)]])


def test_the_score_of_distances_ranks_by_the_distance():
    model = models.get("cml")(2, 3, 4, dim=2)
    worked.fill(model.items, [[1, 0], [3, 0], [0.5, 0.5]])
    assert model.similar([1])[0] == [[2, 3]]
    items, scores = model.similar([1], by="score")
    assert items == [[3, 2]]
    # |v_1|^2 - |v_1 - v_j|^2
    np.testing.assert_allclose(scores, [[1 - 0.5, 1 - 4]], atol=1e-6)


def test_unknown_and_untrained_items():
    model = bpr_mf()
    model.set_vocabularies(["a", "b", "c"])
    model.trained_items = np.array([True, False, True])
    assert model.similar(["a", "b", "?"]) == ([["c"], [], []], [[pytest.approx(0.0)], [], []])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k must be an integer of at least 1, but is 0\."),
        ({"by": "distance"}, r"by must be one of cosine, score, but is 'distance'\."),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        bpr_mf().similar([1], **options)


def test_a_counting_model_has_no_vectors():
    with pytest.raises(ValueError, match=r"^Pop counts, and has no item vectors to compare\.$"):
        models.get("pop")(2, 3, 4).similar([1])
