"""Batches from shards: a pass holds the same examples as in memory."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from tfrec_attn.config import Data
from tfrec_attn.data.batches import HeldOut, Windows, shard_stream
from tfrec_attn.data.batches.masked_items import MaskedItems
from tfrec_attn.data.batches.next_items import NextItems
from tfrec_attn.data.batches.streamed_held_out import StreamedHeldOut
from tfrec_attn.data.batches.streamed_training import (
    StreamedMaskedItems,
    StreamedNextItems,
    StreamedWindows,
)
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.sequences.held_out_log import held_out_log, save_held_out_log
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.splits import item_counts
from tfrec_attn.data.sequences.transitions import count_transitions, training_pairs
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.data.shards.sharded_split import ShardedSplit

WINDOWS = {"max_length": 4, "targets": 3, "batch_size": 64}
SEQUENCES = {"max_length": 6, "batch_size": 16}


@pytest.fixture(scope="module", params=["leave-one-out", "temporal"])
def splits(request, tmp_path_factory):
    """A split in memory and the same on disk."""
    folder = tmp_path_factory.mktemp("prepared")
    synthetic(1_500, seed=2).write_parquet(folder / "log.parquet")
    bounds = {"valid_from": 0.6, "test_from": 0.8} if request.param == "temporal" else {}
    prepare_log(
        [str(folder / "log.parquet")],
        folder / "out",
        Data(min_user_events=1, split=request.param, **bounds),
        shards=3,
    )
    log = PreparedLog(folder / "out")
    return log.load(), ShardedSplit.open(log)


def examples(stream, count, first=0):
    """So many (user, history, targets), in order."""
    found = []
    for batch in stream.dataset(first):
        found += list(
            zip(
                *(
                    np.asarray(batch[key]).reshape(len(batch["user"]), -1).tolist()
                    for key in ("user", "history", "targets")
                ),
                strict=True,
            )
        )
        if len(found) >= count:
            return [tuple(map(tuple, one)) for one in found[:count]]
    raise AssertionError("the stream ended")


@pytest.mark.parametrize(
    ("kinds", "options"),
    [
        ((Windows, StreamedWindows), WINDOWS),
        ((Windows, StreamedWindows), {**WINDOWS, "window": "all"}),
        ((NextItems, StreamedNextItems), SEQUENCES),
        ((MaskedItems, StreamedMaskedItems), {**SEQUENCES, "last_share": 1.0}),
    ],
    ids=["windows", "all windows", "next items", "masked items"],
)
def test_a_pass_has_the_same_examples_as_in_memory(splits, kinds, options, monkeypatch):
    monkeypatch.setattr(shard_stream, "_MOST_USERS", 7)  # several blocks
    memory, streamed = (kind(split, **options) for kind, split in zip(kinds, splits, strict=True))
    assert len(streamed) == len(memory) and streamed.steps_per_epoch == memory.steps_per_epoch
    spec, expected = streamed.dataset().element_spec, memory.dataset().element_spec
    assert dict(spec) == dict(expected)
    two = examples(streamed, 2 * len(memory))
    passes = two[: len(memory)], two[len(memory) :]
    assert Counter(passes[0]) == Counter(passes[1]) == Counter(examples(memory, len(memory)))
    assert passes[0] != passes[1]
    assert examples(streamed, 40) == two[:40]
    assert examples(kinds[1](splits[1], **options, seed=2), 40) != two[:40]
    step = streamed.steps_per_epoch + 1
    assert examples(streamed, 20, step)[:20] != two[:20]


def seeds_of_a_pass(monkeypatch, stream, pipeline=None, shuffles=True):
    """The seed of each draw of the first batches of a stream, as bytes."""
    seeds = []

    def recorded(draw):
        def wrapped(of, seed, *arguments, **keywords):
            note = tf.numpy_function(lambda one: seeds.append(one.tobytes()), [seed], [])
            with tf.control_dependencies([note]):
                return draw(of, seed, *arguments, **keywords)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(tf.random, "stateless_uniform", recorded(tf.random.stateless_uniform))
        if shuffles:
            shuffle = recorded(tf.random.experimental.stateless_shuffle)
            patch.setattr(tf.random.experimental, "stateless_shuffle", shuffle)
        for _ in zip(range(stream.steps_per_epoch), stream.dataset(0, pipeline), strict=False):
            pass
    return seeds


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (StreamedWindows, WINDOWS),
        (StreamedNextItems, {**SEQUENCES, "negatives": 2}),
        (StreamedMaskedItems, {**SEQUENCES, "negatives": 2}),
        (StreamedMaskedItems, {**SEQUENCES, "negatives": 2, "shared": True}),
        (MaskedItems, {**SEQUENCES, "negatives": 2}),
    ],
)
def test_each_draw_has_a_seed_of_its_own(splits, kind, options, monkeypatch):
    # Two draws with one seed depend on each other: masked positions and their negatives, or the
    # order of the users and that of their examples.
    stream = kind(splits[0 if kind is MaskedItems else 1], seed=3, **options)
    seeds = seeds_of_a_pass(monkeypatch, stream)
    assert len(set(seeds)) == len(seeds) >= 3


def test_two_hosts_draw_different_negatives(splits, monkeypatch):
    stream = StreamedWindows(splits[1], seed=3, **WINDOWS)
    first, second = (
        set(seeds_of_a_pass(monkeypatch, stream, tf.distribute.InputContext(2, host, 2), False))
        for host in range(2)
    )
    assert first and second and not first & second


def touched(split):
    sequences = split.sequences
    return {
        row + 1: set(sequences.items[sequences.offsets[row] : split.train_end[row]].tolist())
        for row in range(sequences.num_users)
    }


@pytest.mark.parametrize("stream", ["windows", "shared", "next items"])
def test_streamed_negatives_are_uniform_over_untouched_items(splits, stream):
    kind, options = {
        "windows": (StreamedWindows, {**WINDOWS, "negatives": 40}),
        "shared": (StreamedWindows, {**WINDOWS, "negatives": 40, "shared": True}),
        "next items": (StreamedNextItems, {**SEQUENCES, "negatives": 40}),
    }[stream]
    memory, split = splits
    mine, counts, expected = (
        touched(memory),
        np.zeros(split.sequences.num_items + 1),
        np.zeros(split.sequences.num_items + 1),
    )
    for batch in kind(split, **options).dataset().take(4):
        for user, negatives in zip(
            batch["user"].numpy(),
            batch["negatives"].numpy().reshape(len(batch["user"]), -1),
            strict=True,
        ):
            assert not mine[user] & set(negatives.tolist())
            counts += np.bincount(negatives, minlength=len(counts))
            free = np.array([0, *(item not in mine[user] for item in range(1, len(counts)))], float)
            expected += free / free.sum() * negatives.size
    assert counts[0] == 0
    assert np.abs(counts - expected)[1:].max() < 6 * np.sqrt(expected.max())


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_shared_negatives_come_from_all_items(splits, power):
    memory, streamed = (
        kind(split, **SEQUENCES, negatives=120, shared=True, popularity=power)
        for kind, split in zip((NextItems, StreamedNextItems), splits, strict=True)
    )
    assert streamed.log_q.tolist() == memory.log_q.tolist()
    drawn = np.concatenate(
        [batch["negatives"].numpy().ravel() for batch in streamed.dataset().take(60)]
    )
    counts = np.bincount(drawn, minlength=len(streamed.log_q) + 1)
    expected = np.exp(streamed.log_q) * len(drawn)
    assert counts[0] == 0 and np.abs(counts[1:] - expected).max() < 6 * np.sqrt(expected.max())


def test_masked_items_are_hidden(splits):
    memory, split = splits
    latest = {
        user + 1: items[-SEQUENCES["max_length"] :]
        for user, items in enumerate(training_items(memory))
    }
    mask, share, count = split.sequences.num_items + 1, 0, 0
    for batch in (
        StreamedMaskedItems(split, **SEQUENCES, mask_share=0.5, last_share=0.0).dataset().take(60)
    ):
        for user, history, targets in zip(
            *(batch[key].numpy() for key in ("user", "history", "targets")), strict=True
        ):
            items = np.where(history == mask, targets, history)
            assert items[items > 0].tolist() == latest[user]
            assert ((targets > 0) == (history == mask)).all() and targets.any()
            # What is masked in any case would count too much in a short sequence.
            if len(latest[user]) == SEQUENCES["max_length"]:
                share, count = share + np.count_nonzero(targets), count + len(targets)
    assert share / count == pytest.approx(0.5 + 0.5**6 / 6, abs=4 * np.sqrt(0.25 / count))


def training_items(split):
    offsets, items = split.sequences.offsets, split.sequences.items
    return [
        items[begin:end].tolist() for begin, end in zip(offsets[:-1], split.train_end, strict=True)
    ]


@pytest.mark.parametrize("kind", [StreamedNextItems, StreamedMaskedItems])
def test_weights_are_one_over_the_targets_of_a_batch(splits, kind):
    batch = next(iter(kind(splits[1], **SEQUENCES).dataset()))
    np.testing.assert_allclose(
        batch["normalizer"].numpy(), 1 / np.count_nonzero(batch["targets"].numpy()), rtol=1e-6
    )


@pytest.mark.parametrize("enough", [True, False], ids=["a shard each", "fewer shards than workers"])
def test_workers_read_different_users(splits, enough):
    workers = 2 if enough else 5
    stream = StreamedNextItems(splits[1], max_length=6, batch_size=workers)
    users = []
    for worker in range(workers):
        context = tf.distribute.InputContext(workers, worker, workers)
        seen = [int(batch["user"][0]) for batch in stream.dataset(pipeline=context).take(4)]
        assert all(len(batch["user"]) == 1 for batch in stream.dataset(pipeline=context).take(1))
        users.append(set(seen))
    assert sum(map(len, users)) == len(set.union(*users)) == 4 * workers


@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("size", [5, 1000])
def test_held_out_events_are_the_same_as_in_memory(splits, part, size):
    memory, streamed = (
        kind(split, part, max_length=4, batch_size=size)
        for kind, split in zip((HeldOut, StreamedHeldOut), splits, strict=True)
    )
    assert len(streamed) == len(memory)
    found = [events_of(held) for held in (memory, streamed)]
    assert found[0] == found[1]
    assert streamed.repeated().tolist() == memory.repeated().tolist()
    assert len(list(streamed.dataset())) == streamed.dataset().cardinality().numpy()
    assert (
        sum(len(block["user"]) for block in streamed.sample(7))
        == sum(len(block["user"]) for block in memory.sample(7))
        == 7
    )


def events_of(held):
    rows = []
    for block in held.dataset():
        assert 0 < len(block["user"]) <= held.batch_size
        assert block["history"].shape[1] <= held.max_length
        for user, history, target, seen in zip(
            *(block[key].numpy() for key in ("user", "history", "target", "seen")), strict=True
        ):
            assert len(set(seen[seen > 0])) == np.count_nonzero(seen)
            rows.append(
                (
                    int(user),
                    history[history > 0].tolist(),
                    int(target),
                    sorted(seen[seen > 0].tolist()),
                )
            )
    values = np.empty(len(rows), object)
    values[:] = rows
    return held.in_split_order(values).tolist()


def test_counts_come_from_the_folder(splits):
    memory, streamed = replace(splits[0], prepared=None), splits[1]
    assert item_counts(streamed).tolist() == item_counts(memory).tolist()
    for name in ("offsets", "neighbours", "counts"):
        assert (
            getattr(count_transitions(streamed), name).tolist()
            == getattr(count_transitions(memory), name).tolist()
        )
    assert leak_report(streamed) == leak_report(memory)


@pytest.mark.parametrize(
    ("time_span", "max_length"), [(1, 4), (1, 1), (2, None), (3, 4), (10**12, 3), (1, 10**12)]
)
def test_transitions_are_the_same_as_in_memory(splits, time_span, max_length):
    memory, streamed = (count_transitions(split, time_span, max_length) for split in splits)
    for name in ("offsets", "neighbours", "counts"):
        assert getattr(streamed, name).tolist() == getattr(memory, name).tolist()
        assert getattr(streamed, name).dtype == getattr(memory, name).dtype
    everything = count_transitions(splits[0], time_span)
    assert (memory.counts.sum() < everything.counts.sum()) == (
        max_length is not None and max_length <= 4
    )


def test_training_pairs_are_the_same_as_in_memory(splits):
    found, expected = (
        Counter(zip(*(part.tolist() for part in training_pairs(split)), strict=True))
        for split in splits[::-1]
    )
    assert found == expected
    assert found.total() == item_counts(splits[0]).sum()


def test_the_held_out_log_has_the_same_rows(splits, tmp_path):
    memory, streamed = splits
    save_held_out_log(streamed, "test", tmp_path / "test.parquet")
    assert (
        pl.read_parquet(tmp_path / "test.parquet")
        .sort("user_id")
        .equals(held_out_log(memory, "test").sort("user_id"))
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["test.parquet"]
