"""Training diagnostics, compared with NumPy."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn import models
from tfrec_attn.data.batches import HeldOut
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.training.diagnostics import Diagnostics, count_not_finite, first_not_finite

USERS, ITEMS = 30, 40


@pytest.fixture
def split(make_leave_one_out):
    random = np.random.default_rng(5)
    return make_leave_one_out(
        [random.permutation(ITEMS)[: 4 + user % 5] + 1 for user in range(USERS)], ITEMS
    )


@pytest.fixture
def model():
    return models.AttRec(USERS, ITEMS, 5, dim=4, stddev=1.0, max_norm=None)


def test_figures_by_numpy(model, split):
    # Blocks of 7: the last is shorter.
    held_out = HeldOut(split, "valid", max_length=5, batch_size=7)
    figures = Diagnostics(model, held_out)()
    scores = np.concatenate([model(block).numpy() for block in held_out.dataset()])[:, 1:]
    best = np.argsort(-scores, axis=1)[:, :10] + 1
    tables = [table.numpy() for table in model.tables("items")]
    assert figures == {
        "top1_share": max(np.bincount(best[:, 0])) / USERS,
        "distinct_top10": len(np.unique(best)),
        "largest_item_norm": pytest.approx(
            max(np.linalg.norm(table, axis=1).max() for table in tables), rel=1e-6
        ),
        "not_finite": 0,
    }
    assert 1 / USERS < figures["top1_share"] < 1 and 10 < figures["distinct_top10"] <= ITEMS


class ManyUsers:
    """A stub of 12,345 held-out events that stores the requested number."""

    asked = None

    def __len__(self):
        return 12_345

    def sample(self, count):
        self.asked = count
        return []


@pytest.mark.parametrize(("items", "users"), [(ITEMS, 1000), (10_000_000, 26)])
def test_number_of_sampled_users(items, users):
    # At most 2 ** 28 scores, so a large catalogue does not cost more.
    held_out = ManyUsers()
    Diagnostics(types.SimpleNamespace(num_items=items), held_out)
    assert held_out.asked == users


def test_sampled_users_are_evenly_spaced(split):
    held_out = HeldOut(split, "valid", max_length=5, batch_size=4)
    everyone = np.concatenate([block["user"] for block in held_out.dataset()])
    blocks = [block["user"].numpy() for block in held_out.sample(10)]
    assert [len(block) for block in blocks] == [4, 4, 2]
    # Ten of the places 0 to 29, at a distance of 29 / 9, rounded down.
    assert (
        np.concatenate(blocks).tolist() == everyone[[0, 3, 6, 9, 12, 16, 19, 22, 25, 29]].tolist()
    )


def test_a_warning_if_all_users_get_the_same_item(split):
    model = models.AttRec(USERS, ITEMS, 5, dim=4, user_weight=1.0, stddev=1.0, max_norm=None)
    diagnostics = Diagnostics(model, HeldOut(split, "valid", max_length=5))
    line = diagnostics.describe(diagnostics())
    assert "warning" not in line and line.count("\n") == 0
    # Users are near 0, and so is item 17 now, while the others are far away.
    far = np.where(np.arange(ITEMS + 1) == 17, 0.0, 50.0)
    model.tables("items")[1].assign(np.tile(far[:, np.newaxis], [1, 4]))
    figures = diagnostics()
    assert figures["top1_share"] == 1.0
    line, warning = diagnostics.describe(figures).split("\n")
    assert line.startswith("diagnostics: the most common top item is that of 100.0% of users")
    assert warning.startswith("warning: all users get the same top item, 17;")
    model.item_vocabulary = split.sequences.item_vocabulary
    assert "the same top item, i17;" in diagnostics.describe(figures)


def test_values_that_are_not_finite_are_counted(model, split):
    model.compile()
    model.optimizer.build(model.trainable_variables)
    assert first_not_finite(model) is None
    accumulator = variable_of(model.optimizer.variables[-1])
    accumulator.assign(tf.fill(accumulator.shape, float("inf")))
    assert (
        first_not_finite(model)
        == f"{accumulator.name} has {accumulator.shape.num_elements()} values that are not finite"
    )
    short, long = map(variable_of, model.tables("items"))
    short.scatter_nd_update([[3, 0], [4, 1]], [float("nan"), float("inf")])
    long.scatter_nd_update([[1, 1]], [float("-inf")])
    assert count_not_finite([short, long, tf.Variable([1, 2])]) == {short.name: 2, long.name: 1}
    assert (
        first_not_finite(model)
        == f"{short.name} has 2 values that are not finite, and 1 more variables have such"
    )
    assert Diagnostics(model, HeldOut(split, "valid", max_length=5))()["not_finite"] == 3
