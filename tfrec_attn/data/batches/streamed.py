"""Batches of a prepared log that is read from its shards in every epoch: the same keys, shapes and
distribution as `batches` makes.

A block of users is read, all of their examples are gathered at once inside the graph, shuffled, and
cut into batches; only a few blocks are in memory at a time. The order of the shards, of the users
within a buffer, and of the examples within a block is drawn anew in each pass; it is a function of
(seed, pass), but a later step is reached only by going through the steps of its pass.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.batches.positions import masked_positions
from tfrec_attn.data.batches.windows import NOTHING_TO_LEARN, Stream, window_counts
from tfrec_attn.data.shards.shard_files import feature_spec
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import ConfigError, DataError

_BLOCK = 1 << 17  # examples
_MOST_USERS = 1 << 13
_BUFFER = 1 << 15  # users
_READERS = 8
_PASS = 1 << 32  # blocks


class _ShardStream(Stream):
    """Training examples from the shards, pass after pass.

    A subclass says in `_examples` what the examples of a block are, and in `_complete` what a batch
    needs beside them.
    """

    def __init__(
        self, split: ShardedSplit, counts: np.ndarray, max_length: int, batch_size: int, seed: int
    ):
        if not counts.any():
            raise DataError(NOTHING_TO_LEARN)
        self.max_length, self.batch_size, self.seed = max_length, batch_size, seed
        self.num_items = split.sequences.num_items
        self._count = int(counts.sum())
        self._paths = split.paths
        self._users = int(np.clip(_BLOCK // max(1, counts.mean()), 1, _MOST_USERS))

    def dataset(
        self, first_step: int = 0, pipeline: tf.distribute.InputContext | None = None
    ) -> tf.data.Dataset:
        """The stream from one step on; give `fit` its `steps_per_epoch`.

        Args:
          first_step: of the first batch.
          pipeline: one of several that feed the replicas of a strategy: it reads its own users, and
            gives each of its replicas a part of the batch in turn.
        """
        parts, pipelines = (
            (pipeline.num_replicas_in_sync, pipeline.num_input_pipelines) if pipeline else (1, 1)
        )
        number = pipeline.input_pipeline_id if pipeline else 0
        begin, skipped = divmod(first_step, self.steps_per_epoch)
        passes = tf.data.Dataset.counter(begin, dtype=tf.int64)
        blocks = passes.flat_map(lambda epoch: self._pass(epoch, number, pipelines))
        batches = blocks.map(self._parse, num_parallel_calls=2, deterministic=True).rebatch(
            self.batch_size // parts, drop_remainder=False
        )
        steps = batches.skip(skipped * parts // pipelines).enumerate(
            first_step * parts // pipelines
        )
        dataset = steps.map(
            lambda step, batch: self._complete(step * pipelines + number, parts, batch)
        ).prefetch(4)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.with_options(options)

    def _pass(self, epoch, number, pipelines):
        """Blocks of records with the number of each, once through the shards."""
        paths = tf.random.experimental.stateless_shuffle(
            tf.constant(self._paths), tf.stack([tf.constant(self.seed, tf.int64), epoch])
        )
        files = tf.data.Dataset.from_tensor_slices(paths)
        enough = len(self._paths) >= pipelines
        files = files.shard(pipelines, number) if enough else files
        records = files.interleave(
            tf.data.TFRecordDataset,
            _READERS,
            block_length=16,
            num_parallel_calls=2,
            deterministic=True,
        )
        records = records if enough else records.shard(pipelines, number)
        # Not shuffle: with a seed that is a tensor it fails where the global seed is 0.
        buffers = records.batch(_BUFFER).enumerate(epoch * _PASS)
        return buffers.map(self._shuffled).rebatch(self._users).enumerate(epoch * _PASS)

    def _shuffled(self, number, records):
        return tf.random.experimental.stateless_shuffle(
            records, tf.stack([tf.constant(self.seed, tf.int64), number])
        )

    def _parse(self, block, records):
        parsed = tf.io.parse_example(records, feature_spec())
        return self._examples(_Block(parsed), tf.stack([tf.constant(self.seed, tf.int64), block]))


class StreamedWindows(_ShardStream):
    """The windows of `Windows`, from shards.

    Args:
      split: of a prepared log.
      max_length: L.
      targets: T.
      negatives: K negatives for each positive.
      shared: one set of K negatives for all positives of a window, instead of K for each.
      batch_size: B.
      seed: of order and negatives.
      window: as for `Windows`.

    Batches: as `Windows`.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length=5,
        targets=3,
        negatives=1,
        shared=False,
        batch_size=512,
        seed=1,
        window="full",
    ):
        counts, _ = window_counts(split.places.train, max_length, targets, window)
        if not (split.places.train >= 2).any():
            raise DataError(NOTHING_TO_LEARN)
        super().__init__(split, counts, max_length, batch_size, seed)
        self.targets, self.window = targets, window
        self.negatives = (1 if shared else targets, negatives)

    def _examples(self, block, seed):
        count, first = window_counts(block.train, self.max_length, self.targets, self.window)
        row = tf.repeat(tf.range(tf.size(count, tf.int64)), count)
        within = tf.range(tf.size(row, tf.int64)) - tf.repeat(
            tf.cumsum(count, exclusive=True), count
        )
        order = tf.random.experimental.stateless_shuffle(tf.range(tf.size(row)), seed)
        row, place = tf.gather(row, order), tf.gather(tf.gather(first, row) + within, order)
        after = place[:, tf.newaxis] + tf.range(self.targets, dtype=tf.int64)
        return {
            "user": tf.gather(block.users, row),
            "history": block.items_before(row, place, self.max_length),
            "targets": block.items(row, after, after < tf.gather(block.train, row)[:, tf.newaxis]),
            "negatives": block.untouched(row, self.negatives, self.num_items, seed),
        }

    def _complete(self, step, parts, batch):
        rows = self.batch_size // parts
        return {
            name: tf.ensure_shape(values, [rows, *values.shape[1:]])
            for name, values in batch.items()
        }


class _StreamedPositions(_ShardStream):
    """Training sequences with a target at some or all of their positions, from shards.

    A subclass makes inputs and targets in `_sequences`.
    """

    def __init__(
        self, split: ShardedSplit, max_length, negatives, shared, popular, batch_size, seed
    ):
        super().__init__(
            split, (split.places.train >= 2).astype(np.int64), max_length, batch_size, seed
        )
        if negatives > self.num_items:
            raise ConfigError(
                f"negatives must be at most the number of items, {self.num_items}, but is {negatives}."
            )
        self._users = min(self._users, 1024)
        counts = split.prepared.item_counts()
        drawn = counts if popular else np.ones_like(counts)
        with np.errstate(divide="ignore"):
            self.log_q = np.log(drawn / drawn.sum()).astype(np.float32)
        self._ends = tf.constant(np.cumsum(drawn), tf.int64)
        self._negatives, self._shared = negatives, shared

    def _examples(self, block, seed):
        row = tf.where(block.train >= 2)[:, 0]
        last = tf.gather(block.train, row) - 1
        index = last[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)
        batch = {
            "user": tf.gather(block.users, row),
            **self._sequences(block, row, last, index, seed),
        }
        if self._negatives and not self._shared:
            batch["negatives"] = block.untouched(
                row, (self.max_length, self._negatives), self.num_items, seed
            )
        return batch

    def _complete(self, step, parts, batch):
        rows = self.batch_size // parts
        batch = {
            name: tf.ensure_shape(values, [rows, *values.shape[1:]])
            for name, values in batch.items()
        }
        targets = tf.reduce_sum(tf.cast(batch["targets"] > 0, tf.float32)) * float(parts)
        batch["normalizer"] = tf.fill([rows], 1.0 / targets)
        if self._negatives and self._shared:
            seed = tf.stack([tf.constant(self.seed, tf.int64), step // parts])
            shape = [self.batch_size, -(-self._negatives // self.batch_size)]
            drawn = tf.random.stateless_uniform(
                [shape[0] * shape[1]], seed, maxval=self._ends[-1], dtype=tf.int64
            )
            batch["negatives"] = tf.reshape(
                tf.searchsorted(self._ends, drawn, side="right") + 1, shape
            )
        return batch


class StreamedNextItems(_StreamedPositions):
    """The sequences of `NextItems`, from shards.

    Args:
      split: of a prepared log.
      max_length: L.
      negatives: sampled items; 0 for none.
      shared: as for `NextItems`.
      popular: as for `NextItems`.
      batch_size: B, users.
      seed: of order and negatives.

    Batches: as `NextItems`; under a strategy `normalizer` takes the other parts of a batch for as
    long as its own.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length=50,
        negatives=0,
        shared=False,
        popular=False,
        batch_size=256,
        seed=1,
    ):
        super().__init__(split, max_length, negatives, shared, popular, batch_size, seed)

    def _sequences(self, block, row, last, index, seed):
        history = block.items_before(row, last, self.max_length)
        return {"history": history, "targets": block.items(row, index, history > 0)}


class StreamedMaskedItems(_StreamedPositions):
    """The sequences of `MaskedItems`, from shards.

    Args:
        split: Of a prepared log.
        max_length: L.
        mask_share: As for `MaskedItems`, and so are `last_share`, `negatives`, `shared`, `popular`,
            `batch_size` and `seed`.

    Batches: as `MaskedItems`; under a strategy `normalizer` is that of a batch whose parts all have
    as many targets as this one.

    Raises:
        DataError, ConfigError: As `MaskedItems`.
    """

    def __init__(
        self,
        split: ShardedSplit,
        *,
        max_length=50,
        mask_share=0.2,
        last_share=0.1,
        negatives=0,
        shared=False,
        popular=False,
        batch_size=256,
        seed=1,
    ):
        super().__init__(split, max_length, negatives, shared, popular, batch_size, seed)
        self._mask_share, self._last_share = mask_share, last_share

    def _sequences(self, block, row, last, index, seed):
        items = block.items(row, index, index >= 0)
        masked = masked_positions(
            tf.ensure_shape(items, [None, self.max_length]) > 0,
            seed,
            self._mask_share,
            self._last_share,
        )
        return {
            "history": tf.where(masked, self.num_items + 1, items),
            "targets": tf.where(masked, items, 0),
        }


class StreamedHeldOut:
    """The held-out events of `HeldOut`, from shards: in their order, as many users at a time as
    give at most a block.

    Args:
        split: Of a prepared log.
        part: "valid" or "test".
        max_length: L.
        batch_size: Events a block at most.
        repeats: As for `HeldOut`.

    Batches: as `HeldOut`.
    """

    def __init__(
        self, split: ShardedSplit, part: str, *, max_length=5, batch_size=256, repeats="exclude"
    ):
        self.max_length, self.batch_size, self.repeats = max_length, batch_size, repeats
        self._paths, self._part = split.paths, part
        users = split.users_in_shards()
        held = getattr(split.places, part)[users - 1] >= 0
        self._order = np.argsort(users[held], kind="stable")
        self._users = self._users_a_block(held)
        self._blocks = int(
            np.count_nonzero(
                np.add.reduceat(held.astype(int), np.arange(0, len(held), self._users))
            )
        )

    def __len__(self):
        return len(self._order)

    def repeated(self) -> np.ndarray:
        """Whether each target is in its user's history, bool [U], in the order of the split: one
        pass over the shards.
        """
        blocks = self._dataset(lambda records: self._repeated(*self._held(records)))
        return self.in_split_order(
            np.concatenate([block.numpy() for block in blocks] or [np.zeros(0, bool)])
        )

    def _users_a_block(self, held: np.ndarray) -> int:
        """The most users in a row of which never more than a block's events are held out, or near
        it.
        """
        users = self.batch_size * len(held) // max(1, np.count_nonzero(held))
        while (
            users > self.batch_size
            and np.add.reduceat(held.astype(int), np.arange(0, len(held), users)).max()
            > self.batch_size
        ):
            users = users * 9 // 10
        return max(users, self.batch_size)

    def in_split_order(self, values: np.ndarray) -> np.ndarray:
        """Values of the events in the order of the blocks -> in the order of the split's `valid` or
        `test`.
        """
        return values[self._order]

    def sample(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Blocks of the first so many events; every shard is a sample of the users."""
        blocks = []
        for block in self.dataset():
            blocks.append({name: values[:count] for name, values in block.items()})
            count -= len(blocks[-1]["user"])
            if not count:
                break
        return blocks

    def dataset(self) -> tf.data.Dataset:
        blocks = self._dataset(self._parse).filter(lambda block: tf.size(block["user"]) > 0)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        return (
            blocks.apply(tf.data.experimental.assert_cardinality(self._blocks))
            .prefetch(2)
            .with_options(options)
        )

    def _dataset(self, function):
        records = tf.data.TFRecordDataset(self._paths).batch(self._users)
        return records.map(function, num_parallel_calls=2, deterministic=True)

    def _held(self, records):
        """The events of a block of users, and of those held out the row [B] and the place [B] among
        their user's.
        """
        parsed = tf.io.parse_example(records, feature_spec())
        place = parsed[self._part]
        row = tf.where(place >= 0)[:, 0]
        return _Block(parsed), row, tf.gather(place, row)

    def _parse(self, records):
        block, row, place = self._held(records)
        longest = tf.reduce_max(tf.concat([place, [0]], axis=0))
        index = tf.zeros_like(place)[:, tf.newaxis] + tf.range(
            longest if self.repeats == "exclude" else tf.zeros_like(longest)
        )
        seen = tf.sort(block.items(row, index, index < place[:, tf.newaxis]), axis=1)
        again = tf.pad(seen[:, 1:] == seen[:, :-1], [[0, 0], [1, 0]])[:, : tf.shape(seen)[1]]
        return {
            "user": tf.gather(block.users, row),
            "history": block.items_before(
                row, place, tf.clip_by_value(longest, 1, self.max_length)
            ),
            "target": block.target(row, place),
            "seen": tf.where(again, 0, seen),
        }

    def _repeated(self, block, row, place):
        index = tf.zeros_like(place)[:, tf.newaxis] + tf.range(
            tf.reduce_max(tf.concat([place, [0]], axis=0))
        )
        before = block.items(row, index, index < place[:, tf.newaxis])
        return tf.reduce_any(before == block.target(row, place)[:, tf.newaxis], axis=1)


class _Block:
    """Vectorised look-ups in the events of some users."""

    def __init__(self, parsed):
        self.users = tf.cast(parsed["user"], tf.int32)
        self.train = parsed["train"]
        self._items = tf.cast(parsed["item"].flat_values, tf.int32)
        self._start = parsed["item"].row_starts()

    def items(self, row, place, where):
        """Items at places [R, W] among the events of the users in rows [R]; 0 where not `where`."""
        index = tf.where(where, tf.gather(self._start, row)[:, tf.newaxis] + place, 0)
        return tf.where(where, tf.gather(self._items, index), 0)

    def target(self, row, place):
        """The item at one place [R] of the users in rows [R]."""
        return self.items(row, place[:, tf.newaxis], True)[:, 0]

    def items_before(self, row, place, length):
        """The `length` items before a place, padded on the left [R, length]."""
        index = place[:, tf.newaxis] + tf.range(-tf.cast(length, tf.int64), 0)
        return self.items(row, index, index >= 0)

    def untouched(self, row, shape, num_items, seed):
        """Items [R, *shape] that the users have not touched in training: as `NegativeSampler`, with
        the sorted items of the block.
        """
        base = num_items + 1
        trained = tf.RaggedTensor.from_row_lengths(
            tf.range(tf.reduce_sum(self.train)), self.train, validate=False
        )
        owner = trained.value_rowids()
        index = tf.gather(self._start - trained.row_starts(), owner) + trained.flat_values
        keys = tf.sort(owner * base + tf.cast(tf.gather(self._items, index), tf.int64))
        keys = tf.boolean_mask(
            keys, tf.concat([[True], keys[1:] != keys[:-1]], axis=0)[: tf.size(keys)]
        )
        owner, item = keys // base, keys % base
        first = tf.searchsorted(
            owner, tf.range(tf.size(self.train, tf.int64) + 1), out_type=tf.int64
        )
        before = (
            owner * base + item - 1 - (tf.range(tf.size(keys, tf.int64)) - tf.gather(first, owner))
        )
        row = tf.broadcast_to(tf.reshape(row, [-1, *[1] * len(shape)]), [tf.size(row), *shape])
        free = num_items - tf.gather(first[1:] - first[:-1], row)
        draws = (
            tf.random.stateless_uniform(
                tf.shape(row), seed, maxval=None, minval=None, dtype=tf.int64
            )
            & tf.int64.max
        )
        rank = draws % tf.where(free > 0, free, num_items)
        found = tf.reshape(
            tf.searchsorted(
                before, tf.reshape(row * base + rank, [-1]), side="right", out_type=tf.int64
            ),
            tf.shape(row),
        )
        return tf.cast(rank + 1 + tf.where(free > 0, found - tf.gather(first, row), 0), tf.int32)
