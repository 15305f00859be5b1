"""Batches in memory, against plain Python loops."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.data.batches.masked_items import MaskedItems
from tfrec_attn.data.batches.negative_sampler import NegativeSampler
from tfrec_attn.data.batches.next_items import NextItems
from tfrec_attn.data.batches.windows import Windows, window_positions
from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.splits import Split, leave_one_out
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError, DataError


def sequences_of(*histories, num_items=None):
    items = np.array([item for history in histories for item in history], np.int32)
    offsets = np.cumsum([0, *map(len, histories)])
    count = num_items or int(items.max())
    names = (
        Vocabulary([f"u{i}" for i in range(len(histories))]),
        Vocabulary([f"i{i}" for i in range(count)]),
    )
    return Sequences(items, offsets, np.arange(len(items)), *names)


def all_for_training(*histories, num_items=None):
    sequences = sequences_of(*histories, num_items=num_items)
    none = np.zeros(0, np.int64)
    return Split(sequences, sequences.offsets[1:].copy(), none, none, "leave-one-out")


def one_pass(windows):
    """Returns (user, history, targets) of the first pass as tuples."""
    found = []
    for step in range(windows.steps_per_epoch):
        batch = windows.batch(tf.constant(step, tf.int64))
        for row in range(windows.batch_size):
            found.append(
                (
                    int(batch["user"][row]),
                    *(tuple(batch[key][row].numpy().tolist()) for key in ("history", "targets")),
                )
            )
    return found[: len(windows)]


def naive_windows(histories, length, targets):
    found = []
    for user, history in enumerate(histories, start=1):
        if len(history) >= length + targets:
            for begin in range(len(history) - length - targets + 1):
                window = history[begin : begin + length + targets]
                found.append((user, tuple(window[:length]), tuple(window[length:])))
        elif len(history) >= 2:
            cut = max(len(history) - targets, 1)
            past, future = history[:cut], history[cut:]
            past = past[-length:]
            found.append(
                (
                    user,
                    (0,) * (length - len(past)) + tuple(past),
                    tuple(future) + (0,) * (targets - len(future)),
                )
            )
    return found


HISTORIES = st.lists(
    st.lists(st.integers(1, 9), min_size=0, max_size=9), min_size=1, max_size=5
).filter(lambda hs: max(map(len, hs)) >= 2)


@settings(max_examples=40, deadline=None)
@given(HISTORIES, st.integers(1, 4), st.integers(1, 3), st.integers(1, 7))
def test_one_pass_holds_every_window_once(histories, length, targets, batch_size):
    windows = Windows(
        all_for_training(*histories, num_items=9),
        max_length=length,
        targets=targets,
        batch_size=batch_size,
    )
    expected = naive_windows(histories, length, targets)
    assert len(windows) == len(expected)
    assert sorted(one_pass(windows)) == sorted(expected)


def test_windows_from_the_first_event_by_hand():
    windows = Windows(
        all_for_training([1, 2, 3], [4, 5], [6], [], num_items=9),
        max_length=2,
        targets=2,
        batch_size=3,
        window="all",
    )
    expected = [(1, (0, 0), (1, 2)), (1, (0, 1), (2, 3)), (2, (0, 0), (4, 5)), (3, (0, 0), (6, 0))]
    assert len(windows) == 4
    assert sorted(one_pass(windows)) == expected


@settings(max_examples=25, deadline=None)
@given(HISTORIES, st.integers(1, 4), st.integers(1, 3))
def test_windows_from_the_first_event_make_every_event_a_target(histories, length, targets):
    windows = Windows(
        all_for_training(*histories, num_items=9),
        max_length=length,
        targets=targets,
        batch_size=4,
        window="all",
    )
    found = one_pass(windows)
    for user, history in enumerate(histories, start=1):
        mine = sorted(
            (sum(item > 0 for item in past), past, future)
            for owner, past, future in found
            if owner == user
        )
        assert len(mine) == (max(len(history) - targets + 1, 1) if history else 0)
        firsts = [future[0] for _, _, future in mine]
        assert sorted(firsts) == sorted(history[: len(firsts)])


def test_held_out_events_are_in_no_window():
    split = leave_one_out(sequences_of([1, 2, 3, 4, 8, 9], [5, 6, 7, 8, 9]))
    seen = {
        item
        for _, history, targets in one_pass(Windows(split, max_length=2, targets=1, batch_size=2))
        for item in history + targets
    }
    assert seen == {1, 2, 3, 4, 5, 6, 7}


def test_passes_differ_and_a_step_is_a_function_of_its_number():
    split = all_for_training(list(range(1, 40)))
    windows = Windows(split, max_length=2, targets=1, batch_size=7, seed=3)
    count = len(windows)
    order = [
        int(user)
        for step in range(3 * count)
        for user in windows.batch(tf.constant(step, tf.int64))["targets"][:, 0]
    ]
    passes = [order[n * count : (n + 1) * count] for n in range(7)]
    assert all(sorted(one) == sorted(passes[0]) for one in passes)
    assert len({tuple(one) for one in passes}) == 7
    again = Windows(split, max_length=2, targets=1, batch_size=7, seed=3)
    for step, batch in zip(range(11, 14), again.dataset(first_step=11), strict=False):
        expected = windows.batch(tf.constant(step, tf.int64))
        for key, value in expected.items():
            np.testing.assert_array_equal(batch[key], value)
    other = Windows(split, max_length=2, targets=1, batch_size=7, seed=4).batch(
        tf.constant(0, tf.int64)
    )
    assert (
        other["targets"].numpy().tolist()
        != windows.batch(tf.constant(0, tf.int64))["targets"].numpy().tolist()
    )


def streams_of(split):
    yield Windows(split, max_length=2, targets=2, negatives=3, batch_size=6)
    yield Windows(split, max_length=2, targets=2, negatives=3, shared=True, batch_size=6)
    yield NextItems(split, max_length=4, negatives=2, batch_size=6)
    yield NextItems(split, max_length=4, negatives=20, shared=True, batch_size=6)


@pytest.mark.parametrize("weights", [None, np.arange(1, 17)])
def test_pipelines_share_each_batch_by_rows(weights):
    split = all_for_training([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [7, 8], [9, 8, 7, 9], num_items=20)
    for stream in streams_of(split if weights is None else weighted(split, weights)):
        whole = list(stream.dataset(first_step=2).take(4))
        for pipelines, each in ((1, 2), (2, 1), (3, 1), (3, 2)):
            replicas = pipelines * each
            # What a pipeline gives, one element for each of its replicas in turn.
            given = [
                iter(stream.dataset(2, tf.distribute.InputContext(pipelines, pipeline, replicas)))
                for pipeline in range(pipelines)
            ]
            for batch in whole:
                parts = [next(pipeline) for pipeline in given for _ in range(each)]
                for key, value in batch.items():
                    if key == "negatives" and value.shape.rank == 2:
                        assert all((part[key].numpy() == value.numpy()).all() for part in parts)
                    else:
                        np.testing.assert_array_equal(
                            np.concatenate([part[key] for part in parts]), value
                        )
                assert [part["user"].shape[0] for part in parts] == [6 // replicas] * replicas


def weighted(split, weights):
    return dataclasses.replace(
        split, sequences=dataclasses.replace(split.sequences, weights=np.array(weights, np.float32))
    )


def test_sample_weights_are_those_of_the_targets():
    # Item n has the weight n; the last event of each user is held out.
    split = leave_one_out(sequences_of([1, 2, 3, 4, 5, 9, 9], [6, 7, 9, 9]))
    split = weighted(split, split.sequences.items)
    for stream in (
        NextItems(split, max_length=3, batch_size=4),
        Windows(split, max_length=2, targets=2, batch_size=4),
    ):
        batch = {
            key: value.numpy() for key, value in stream.batch(tf.constant(1, tf.int64)).items()
        }
        targets = batch["targets"].astype(float)
        # Windows: the mean of the one or two targets.
        expected = (
            targets
            if isinstance(stream, NextItems)
            else targets.sum(axis=1) / (targets > 0).sum(axis=1)
        )
        assert batch["sample_weight"].dtype == batch["normalizer"].dtype == np.float32
        np.testing.assert_allclose(batch["sample_weight"], expected, rtol=1e-6)
        np.testing.assert_allclose(batch["normalizer"], np.full(4, 1 / expected.sum()), rtol=1e-6)
        assert 0 in targets and targets.max() < 9


def test_weights_change_no_other_feature():
    split = all_for_training([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [7, 8], [9, 8, 7, 9], num_items=20)
    for plain, ones in zip(
        streams_of(split), streams_of(weighted(split, np.ones(16))), strict=True
    ):
        batch, other = (stream.batch(tf.constant(3, tf.int64)) for stream in (plain, ones))
        assert {"sample_weight", *batch} | {"normalizer"} == set(other)
        for key, value in batch.items():
            np.testing.assert_array_equal(other[key], value)


def test_stream_has_one_shape_and_negatives_as_asked():
    split = all_for_training([1, 2, 3, 4, 5], [2, 3, 4, 5, 6], num_items=20)
    for shared, shape in ((False, [4, 2, 3]), (True, [4, 1, 3])):
        windows = Windows(split, max_length=2, targets=2, negatives=3, shared=shared, batch_size=4)
        spec = windows.dataset().element_spec
        assert {key: value.shape.as_list() for key, value in spec.items()} == {
            "user": [4],
            "history": [4, 2],
            "targets": [4, 2],
            "negatives": shape,
        }


def test_negatives_are_uniform_over_untouched_items():
    # User 1 has touched 1, 2, 5, 9; user 2 has touched 10 only; user 3 everything but 4.
    touched = {1: [1, 2, 5, 9, 5], 2: [10, 10], 3: [1, 2, 3, 5, 6, 7, 8, 9, 10]}
    sample = NegativeSampler(all_for_training(*touched.values()))
    users = np.repeat([1, 2, 3], 6000).astype(np.int32)
    drawn = sample(tf.constant(users), tf.constant([1, 2], tf.int64)).numpy()
    for user, items in touched.items():
        allowed = sorted(set(range(1, 11)) - set(items))
        counts = np.bincount(drawn[users == user], minlength=11)
        assert np.flatnonzero(counts).tolist() == allowed
        expected = 6000 / len(allowed)
        # Five standard deviations of a binomial count.
        assert (
            np.abs(counts[allowed] - expected).max()
            <= 5 * np.sqrt(expected * (1 - 1 / len(allowed))) + 1e-9
        )


def test_negatives_can_be_held_out_items():
    split = leave_one_out(sequences_of([1, 2, 3, 4], num_items=4))
    drawn = NegativeSampler(split)(tf.ones([500], tf.int32), tf.constant([1, 2], tf.int64)).numpy()
    assert set(drawn.tolist()) == {3, 4}


def test_a_user_who_has_touched_everything_gets_any_item():
    drawn = NegativeSampler(all_for_training([1, 2, 3]))(
        tf.ones([500], tf.int32), tf.constant([1, 2], tf.int64)
    ).numpy()
    assert set(drawn.tolist()) == {1, 2, 3}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=9), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["valid", "test"]),
)
def test_held_out_blocks(histories, length, batch_size, part):
    cut = 2 if part == "valid" else 1
    held_out = HeldOut(
        leave_one_out(sequences_of(*histories, num_items=9)),
        part,
        max_length=length,
        batch_size=batch_size,
    )
    found = []
    for block in held_out.dataset():
        for row in range(len(block["user"])):
            seen = block["seen"][row].numpy()
            assert len(set(seen[seen > 0])) == (seen > 0).sum()
            history = block["history"][row].numpy().tolist()
            assert len(history) == min(
                length, max(int((block["history"] > 0).numpy().sum(axis=1).max()), 1)
            )
            history = [0] * (length - len(history)) + history
            found.append(
                (
                    int(block["user"][row]),
                    history,
                    int(block["target"][row]),
                    set(seen.tolist()) - {0},
                )
            )
    expected = []
    for user, history in enumerate(histories, start=1):
        past = history[:-cut]
        expected.append(
            (user, [0] * (length - len(past)) + past[-length:], history[-cut], set(past))
        )
    by_length = sorted(range(len(expected)), key=lambda case: len(histories[case]))
    assert found == [expected[case] for case in by_length]
    assert held_out.in_split_order(np.array([case[0] for case in found])).tolist() == list(
        range(1, len(histories) + 1)
    )


def test_with_include_no_item_is_left_out():
    split = leave_one_out(sequences_of([1, 2, 1, 2], [3, 4, 5, 3], [5, 6, 7], num_items=7))
    held_out = HeldOut(split, "test", batch_size=2, repeats="include")
    assert [block["seen"].shape[1] for block in held_out.dataset()] == [0, 0]
    assert [block["history"].shape[1] for block in held_out.dataset()] == [3, 3]


def test_targets_in_their_history_are_found():
    split = leave_one_out(sequences_of([1, 2, 1, 2], [3, 4, 5, 3], [5, 6, 7], num_items=7))
    assert HeldOut(split, "test").repeated().tolist() == [True, True, False]
    assert HeldOut(split, "valid").repeated().tolist() == [True, False, False]


@settings(max_examples=40, deadline=None)
@given(HISTORIES, st.integers(1, 6), st.integers(1, 7))
def test_one_pass_of_next_items_holds_every_user_once_with_every_target(
    histories, length, batch_size
):
    stream = NextItems(
        all_for_training(*histories, num_items=9), max_length=length, batch_size=batch_size
    )
    expected = []
    for user, history in enumerate(histories, start=1):
        if len(history) >= 2:
            padding = [0] * max(length - len(history) + 1, 0)
            expected.append(
                (
                    user,
                    tuple((padding + history[:-1])[-length:]),
                    tuple((padding + history[1:])[-length:]),
                )
            )
    assert len(stream) == len(expected)
    assert sorted(one_pass(stream)) == sorted(expected)


def test_next_items_hold_no_held_out_events():
    (found,) = one_pass(
        NextItems(leave_one_out(sequences_of([1, 2, 3, 4, 5])), max_length=4, batch_size=1)
    )
    assert found == (1, (0, 0, 1, 2), (0, 0, 2, 3))


def masked(*histories, **options):
    """(user, sequence as it is, where it is masked) of each example of the first pass."""
    stream = MaskedItems(all_for_training(*histories, num_items=9), **options)
    found = []
    for step in range(stream.steps_per_epoch):
        batch = stream.batch(tf.constant(step, tf.int64))
        targets, history = batch["targets"].numpy(), batch["history"].numpy()
        np.testing.assert_allclose(batch["normalizer"], 1 / np.count_nonzero(targets), rtol=1e-6)
        assert ((history == 10) == (targets > 0)).all()
        found += zip(
            batch["user"].numpy().tolist(),
            (history * (history < 10) + targets).tolist(),
            (targets > 0).tolist(),
            strict=True,
        )
    return found[: len(stream)]


def test_only_the_latest_item_is_masked():
    found = masked([1, 2, 3, 4], [5, 6], [7], max_length=3, batch_size=2, last_share=1.0)
    assert sorted(found) == [
        (1, [2, 3, 4], [False, False, True]),
        (2, [0, 5, 6], [False, False, True]),
    ]


def test_masked_items_by_their_share():
    histories = [[*range(1, 10)]] * 400
    found = masked(*histories, max_length=9, batch_size=50, mask_share=0.3, last_share=0.25)
    where = np.array([one for _, _, one in found])
    only_last = (where.sum(axis=1) == 1) & where[:, -1]
    assert where.any(axis=1).all() and {tuple(items) for _, items, _ in found} == {
        tuple(histories[0])
    }
    # By chance alone 0.3 * 0.7^8 and a ninth of 0.7^9 have only the last one masked.
    alone = 0.3 * 0.7**8 + 0.7**9 / 9
    assert only_last.mean() == pytest.approx(0.25 + 0.75 * alone, abs=4 * np.sqrt(0.2 / 400))
    assert where[:, 0].mean() == pytest.approx(
        0.75 * (0.3 + 0.7**9 / 9), abs=4 * np.sqrt(0.2 / 400)
    )


def test_masks_change_with_the_pass_and_not_with_the_pipeline():
    stream = MaskedItems(
        all_for_training(*[[*range(1, 10)]] * 6, num_items=9), max_length=9, batch_size=6
    )
    whole = stream.batch(tf.constant(0, tf.int64))
    parts = [stream.batch(tf.constant(0, tf.int64), part, 3) for part in range(3)]
    for key in ("user", "history", "targets"):
        np.testing.assert_array_equal(tf.concat([part[key] for part in parts], axis=0), whole[key])
        assert (
            key == "user"
            or (stream.batch(tf.constant(1, tf.int64))[key].numpy() != whole[key].numpy()).any()
        )
    for part in parts:
        np.testing.assert_allclose(part["normalizer"], whole["normalizer"][0], rtol=1e-6)


def test_masked_items_hold_no_held_out_events():
    split = leave_one_out(sequences_of([1, 2, 3, 4, 8, 9], [5, 6, 7, 8, 9]))
    batch = MaskedItems(split, max_length=6, batch_size=2).batch(tf.constant(0, tf.int64))
    held = {4: {1, 2, 3, 4}, 3: {5, 6, 7}}
    for history, targets in zip(batch["history"].numpy(), batch["targets"].numpy(), strict=True):
        items = np.where(history == 10, targets, history)
        assert set(items[items > 0].tolist()) == held[np.count_nonzero(items)]


def test_negatives_of_next_items():
    split = all_for_training([1, 2, 3, 1], [5, 5, 5, 1], num_items=9)
    own = NextItems(split, max_length=3, negatives=4, batch_size=2).batch(tf.constant(0, tf.int64))
    assert own["negatives"].shape == [2, 3, 4]
    for user, negatives in zip(own["user"].numpy(), own["negatives"].numpy(), strict=True):
        assert not set(negatives.ravel()) & {1: {1, 2, 3}, 2: {5, 1}}[user]
    uniform = NextItems(split, negatives=9, shared=True, batch_size=2)
    assert uniform.batch(tf.constant(0, tf.int64))["negatives"].shape == [2, 5]
    np.testing.assert_allclose(uniform.log_q, np.log(np.full(9, 1 / 9)), rtol=1e-6)
    popular = NextItems(split, negatives=9, shared=True, popularity=1.0, batch_size=2)
    np.testing.assert_allclose(
        np.exp(popular.log_q), [3 / 8, 1 / 8, 1 / 8, 0, 3 / 8, 0, 0, 0, 0], rtol=1e-6
    )
    # The square roots of 3, 1, 1 and 3 by their sum.
    between = NextItems(split, negatives=9, shared=True, popularity=0.5, batch_size=2).log_q
    np.testing.assert_allclose(
        np.exp(between[:5]), [0.316987, 0.183013, 0.183013, 0, 0.316987], rtol=1e-5
    )
    drawn = np.concatenate(
        [
            popular.batch(tf.constant(step, tf.int64))["negatives"].numpy().ravel()
            for step in range(300)
        ]
    )
    np.testing.assert_allclose(
        np.bincount(drawn, minlength=10)[1:] / len(drawn), np.exp(popular.log_q), atol=0.04
    )
    with pytest.raises(
        ConfigError, match=r"^negatives must be at most the number of items, 9, but is 10"
    ):
        NextItems(split, negatives=10)


def test_no_user_with_two_training_events():
    with pytest.raises(DataError, match="No user has two training events"):
        NextItems(leave_one_out(sequences_of([1, 2, 3], [4, 5, 6])))
    with pytest.raises(DataError, match="No user has two training events"):
        window_positions(leave_one_out(sequences_of([1, 2, 3], [4, 5, 6])), 5, 3)
