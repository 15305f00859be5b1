"""Batches for training and for evaluation, gathered inside the graph from flat arrays.

All events stand once in one array, ordered by user and time. A window is one number, the position of its first target; history, targets
and negatives are gathered for a whole batch at once. Nothing is expanded in memory and no Python runs per example.
"""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.negative_sampler import NegativeSampler
from tfrec_attn.data.splits import Split
from tfrec_attn.errors import ConfigError, DataError

NOTHING_TO_LEARN = "No user has two training events, so there is nothing to learn from: give a longer log."


def window_counts(length, max_length: int, targets: int, window: str = "full"):
    """Returns how many training windows users have, and the place of the first target of their first one.

    Args:
        length: Training events of each user, int [M], a NumPy array or a tensor.
        max_length: L, events of the history.
        targets: T, positives of a window.
        window: "full": the n - L - T + 1 windows of L + T events in a row; a user with fewer events has one window, with its history
            padded on the left and, where n <= T, its targets on the right; one with a single event has none. "all": windows begin at
            the user's first event, with the history padded on the left, so that every event is a positive; n - T + 1 windows, or one
            with its targets padded on the right.
    """
    maximum, where = (tf.maximum, tf.where) if tf.is_tensor(length) else (np.maximum, np.where)
    if window == "all":
        return where(length < 1, length, maximum(length - targets + 1, 1)), length * 0
    full = length - max_length - targets + 1
    first = where(full >= 1, length * 0 + max_length, maximum(length - targets, 1))
    return where(length < 2, length * 0, maximum(full, 1)), first


def window_positions(split: Split, max_length: int, targets: int, window: str = "full") -> np.ndarray:
    """Returns the flat positions of the first targets of all training windows, ordered by user and time.

    Args:
        split: Events and their training prefix.
        max_length: L, events of the history.
        targets: T, positives of a window.
        window: As for `window_counts`.

    Raises:
        DataError: If no user has two training events.
    """
    start = split.sequences.offsets[:-1]
    length = split.train_end - start
    if not (length >= 2).any():
        raise DataError(NOTHING_TO_LEARN)
    count, first = window_counts(length, max_length, targets, window)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(start + first, count) + within


class Stream:
    """Training examples as an endless, reproducible stream of batches.

    Every pass visits each example once, in an order that is a function of (seed, pass); batch s holds the examples number s * B to
    (s + 1) * B - 1 of the passes in a row, so all batches have one shape and any step can be made again from its number alone.
    """

    def __init__(self, split: Split, positions: np.ndarray, max_length: int, batch_size: int, seed: int):
        self.max_length = max_length
        self.batch_size = batch_size
        self.seed = seed
        self._count = len(positions)
        self._positions = tf.constant(positions, tf.int64)
        self._events = _Events(split)

    def __len__(self):
        return self._count

    @property
    def steps_per_epoch(self) -> int:
        return -(-self._count // self.batch_size)

    def dataset(self, first_step: int = 0, pipeline: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        """The stream from one step on; give `fit` its `steps_per_epoch`.

        Args:
          first_step: of the first batch.
          pipeline: one of several that feed the replicas of a strategy: it gives each of its own replicas its part of the batch in turn.
        """
        parts = pipeline.num_replicas_in_sync if pipeline else 1
        mine = parts // pipeline.num_input_pipelines if pipeline else 1
        first = pipeline.input_pipeline_id * mine if pipeline else 0

        def part_of_batch(number):
            return self.batch(number // mine, first + tf.cast(number % mine, tf.int32), parts)

        dataset = tf.data.Dataset.counter(first_step * mine, dtype=tf.int64)
        dataset = dataset.map(part_of_batch, num_parallel_calls=2, deterministic=True).prefetch(4)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.with_options(options)

    def batch(self, step, part=0, parts=1):
        """The batch of one step, int64 [], or one of the equal parts of its examples."""
        number = step * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        epoch, index = number // self._count, number % self._count
        seeds = tf.stack([tf.fill([self.batch_size], tf.constant(self.seed, tf.int64)), epoch, tf.zeros_like(epoch)], axis=1)
        # Not tf.random.experimental.index_shuffle: it refuses a seed for each index, and a batch may span two passes.
        example = tf.raw_ops.RandomIndexShuffle(index=index, seed=seeds, max_index=self._count - 1, rounds=4)
        position = tf.gather(self._positions, example)
        rows = self.batch_size // parts
        return self._gather(tf.reshape(position, [parts, rows])[part], step, part, parts, everyone=position)

    def _weights(self, position, everyone):
        """What the targets of the examples at `position` count in the loss, and one over what those of the whole batch count."""
        weight = 1.0 / tf.reduce_sum(self._importance(everyone))
        return {"importance": self._importance(position), "weight": tf.fill(position.shape, weight)}


class Windows(Stream):
    """The training windows of a split as an endless, reproducible stream of batches.

    Every pass visits each window once; the order is a function of (seed, pass), and a batch of (seed, step).

    Args:
      split: events and their training prefix.
      max_length: L.
      targets: T.
      negatives: K negatives for each positive.
      shared: one set of K negatives for all positives of a window, instead of K for each.
      batch_size: B.
      seed: of order and negatives.
      window: where windows begin, "full" or "all", as for `window_counts`.

    Batches: {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, T], "negatives" int32 [B, T, K] ([B, 1, K] when shared)};
    0 is padding. Where events have weights also "importance" [B], the mean of its targets, and "weight" [B], one over the batch's sum.
    """

    def __init__(self, split: Split, *, max_length=5, targets=3, negatives=1, shared=False, batch_size=512, seed=1, window="full"):
        super().__init__(split, window_positions(split, max_length, targets, window), max_length, batch_size, seed)
        self.targets = targets
        self.negatives = (1 if shared else targets, negatives)
        self._end = tf.constant(split.train_end, tf.int64)
        self._sample = NegativeSampler(split)

    def _gather(self, position, step, part, parts, everyone):
        user, history = self._events.before(position, self.max_length)
        targets = self._events.items(*self._after(position, user))
        owners = tf.broadcast_to(user[:, tf.newaxis, tf.newaxis], [self.batch_size // parts, *self.negatives])
        negatives = self._sample(owners, tf.stack([tf.constant(self.seed, tf.int64), step]), part, parts)
        batch = {"user": user, "history": history, "targets": targets, "negatives": negatives}
        return {**batch, **self._weights(position, everyone)} if self._events.weighted else batch

    def _after(self, position, user):
        """Flat positions [B, T] of the targets of windows, and where they are real."""
        after = position[:, tf.newaxis] + tf.range(self.targets, dtype=tf.int64)
        return after, after < tf.gather(self._end, user - 1)[:, tf.newaxis]

    def _importance(self, position):
        after, real = self._after(position, self._events.users(position))
        return tf.reduce_sum(self._events.weights(after, real), axis=1) / tf.reduce_sum(tf.cast(real, tf.float32), axis=1)


class _Positions(Stream):
    """Training sequences with a target at some or all of their positions, and negatives for these.

    A subclass makes the inputs, the targets and what each target counts of sequences in `_sequences`.
    """

    def __init__(self, split: Split, max_length, negatives, shared, popular, batch_size, seed):
        enough = split.train_end - split.sequences.offsets[:-1] >= 2
        if not enough.any():
            raise DataError(NOTHING_TO_LEARN)
        if negatives > split.sequences.num_items:
            raise ConfigError(f"negatives must be at most the number of items, {split.sequences.num_items}, but is {negatives}.")
        super().__init__(split, split.train_end[enough] - 1, max_length, batch_size, seed)
        trained = split.sequences.items[split.train_mask()]
        counts = np.bincount(trained, minlength=split.sequences.num_items + 1)[1:]
        shares = counts / counts.sum() if popular else np.full(len(counts), 1.0 / len(counts))
        with np.errstate(divide="ignore"):
            self.log_q = np.log(shares).astype(np.float32)
        self._negatives, self._shared = negatives, shared
        self._pool = tf.constant(trained if popular else np.arange(1, len(counts) + 1), tf.int32)
        self._sample = NegativeSampler(split) if negatives and not shared else None

    def _with_negatives(self, batch, step, part, parts):
        if not self._negatives:
            return batch
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        negatives = self._shared_negatives(seed) if self._shared else self._own_negatives(batch["user"], seed, part, parts)
        return {**batch, "negatives": negatives}

    def _shared_negatives(self, seed):
        each = -(-self._negatives // self.batch_size)
        drawn = tf.random.stateless_uniform([self.batch_size, each], seed, maxval=tf.size(self._pool), dtype=tf.int32)
        return tf.gather(self._pool, drawn)

    def _own_negatives(self, user, seed, part, parts):
        owners = tf.broadcast_to(user[:, tf.newaxis, tf.newaxis], [self.batch_size // parts, self.max_length, self._negatives])
        return self._sample(owners, seed, part, parts)


class NextItems(_Positions):
    """The training sequences of a split, one for each user, with the next item at every position as its target.

    Every pass visits each user once; the order is a function of (seed, pass), and a batch of (seed, step).

    Args:
      split: events and their training prefix; users with a single training event have no target and are left out.
      max_length: L; of longer sequences the latest L targets and what comes before each are used.
      negatives: sampled items; 0 for none.
      shared: False: K negatives for each position that its user has not touched in training. True: at least K negatives for the whole
        batch, drawn from all items.
      popular: shared negatives are drawn as often as they stand in the training events, instead of uniformly.
      batch_size: B, users.
      seed: of order and negatives.

    Batches: {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, L], "weight" float32 [B]}: `targets[b, l]` follows
    `history[b, l]`; 0 is padding, on the left; `weight` is one over the number of targets of the whole batch. With negatives also
    "negatives" int32 [B, L, K], or [B, ceil(K / B)] when shared; all of the latter go with every part of a batch. Where events have
    weights also "importance" float32 [B, L], those of the targets, and `weight` is one over its sum.

    Errors: DataError when no user has two training events; ConfigError when there are fewer items than negatives.
    """

    def __init__(self, split: Split, *, max_length=50, negatives=0, shared=False, popular=False, batch_size=256, seed=1):
        super().__init__(split, max_length, negatives, shared, popular, batch_size, seed)

    def _gather(self, position, step, part, parts, everyone):
        user, history = self._events.before(position, self.max_length)
        batch = {"user": user, "history": history, "targets": self._events.items(self._following(position), history > 0)}
        if self._events.weighted:
            batch.update(self._weights(position, everyone))
        else:
            lengths = tf.minimum(everyone - self._events.start_at(everyone), self.max_length)
            batch["weight"] = tf.fill([self.batch_size // parts], 1.0 / tf.cast(tf.reduce_sum(lengths), tf.float32))
        return self._with_negatives(batch, step, part, parts)

    def _following(self, position):
        """Flat positions [B, L] of the targets of sequences that end at `position`; those of padding are not the user's."""
        return position[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)

    def _importance(self, position):
        following = self._following(position)
        return self._events.weights(following, following > self._events.start_at(position)[:, tf.newaxis])


class MaskedItems(_Positions):
    """The training sequences of a split, one for each user, with some items masked: the cloze task of BERT4Rec.

    Every pass visits each user once; the order is a function of (seed, pass), and a batch of (seed, step).

    Args:
        split: Events and their training prefix; users with a single training event are left out.
        max_length: L; of longer sequences the latest L items are used.
        mask_share: Probability with which each item is masked, in (0, 1]; one is always masked.
        last_share: Share of the examples of which the latest item alone is masked, as when a next item is predicted, in [0, 1].
        negatives: As for `NextItems`, and so are `shared` and `popular`.
        batch_size: B, users.
        seed: Of order, masks and negatives.

    Batches: {"user" int32 [B], "history" int32 [B, L], "targets" int32 [B, L], "weight" float32 [B]}: a masked item is N + 1 in
    `history` and stands in `targets`, which is 0 elsewhere; the rest as `NextItems`.

    Reference:
        Sun et al., CIKM 2019 (arXiv 1904.06690).
    """

    def __init__(
        self,
        split: Split,
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
        self._mask, self._mask_share, self._last_share = split.sequences.num_items + 1, mask_share, last_share

    def _gather(self, position, step, part, parts, everyone):
        index, real = self._places(position)
        history = self._events.items(index, real)
        masked = self._masked(everyone, step)
        rows = self.batch_size // parts
        mine = tf.reshape(masked, [parts, rows, self.max_length])[part]
        batch = {
            "user": self._events.users(position),
            "history": tf.where(mine, self._mask, history),
            "targets": tf.where(mine, history, 0),
        }
        counts = tf.cast(masked, tf.float32)
        if self._events.weighted:
            counts *= self._events.weights(*self._places(everyone))
            batch["importance"] = tf.reshape(counts, [parts, rows, self.max_length])[part]
        batch["weight"] = tf.fill([rows], 1.0 / tf.reduce_sum(counts))
        return self._with_negatives(batch, step, part, parts)

    def _masked(self, everyone, step):
        """Which positions of all sequences of a step are masked, bool [B, L]."""
        real = self._places(everyone)[1]
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        draws = tf.random.stateless_uniform([self.batch_size, self.max_length + 1], seed)
        # Of padding never, and of a sequence at least the item with the lowest draw.
        item = tf.where(real, draws[:, 1:], 2.0)
        masked = real & ((item < self._mask_share) | (item == tf.reduce_min(item, axis=1, keepdims=True)))
        only_last = draws[:, :1] < self._last_share
        return tf.where(only_last, tf.range(self.max_length) == self.max_length - 1, masked)

    def _places(self, position):
        """Flat positions [B, L] of sequences that end at `position`, and which of them are the user's."""
        index = position[:, tf.newaxis] + tf.range(1 - self.max_length, 1, dtype=tf.int64)
        return index, index >= self._events.start_at(position)[:, tf.newaxis]


class HeldOut:
    """The held-out events of a split, in blocks for ranking: the shortest histories first, so that blocks hold little padding.

    Args:
        split: Whose events to hold out.
        part: "valid" or "test".
        max_length: L.
        batch_size: Events a block.
        repeats: "exclude" (default): items of the history are never recommended. "include": all
            items compete.

    Batches: {"user" int32 [B], "history" int32 [B, l], "target" int32 [B], "seen" int32 [B, S]}:
    `seen` are the items that are never recommended, 0 is padding: under "exclude" the distinct
    items of the whole earlier history, under "include" none (S = 0). l is the length of the longest
    history of the block, at least 1 and at most L.
    """

    def __init__(self, split: Split, part: str, *, max_length=5, batch_size=256, repeats="exclude"):
        self.max_length = max_length
        self.batch_size = batch_size
        self.repeats = repeats
        positions = np.asarray(getattr(split, part), np.int64)
        self._order = np.argsort(positions - split.sequences.offsets[split.rows(positions)], kind="stable")
        self.positions = positions[self._order]
        self._events = _Events(split)
        first = _first_occurrences(split)
        self._first = tf.constant(first)
        self._repeated = ~first[positions]

    def __len__(self):
        return len(self.positions)

    def repeated(self) -> np.ndarray:
        """Whether each target is in its user's history, bool [U], in the order of the split."""
        return self._repeated

    def in_split_order(self, values: np.ndarray) -> np.ndarray:
        """Values of the events in the order of the blocks -> in the order of the split's `valid` or `test`."""
        restored = np.empty_like(values)
        restored[self._order] = values
        return restored

    def sample(self, count: int) -> list[dict[str, tf.Tensor]]:
        """Blocks of so many events, evenly spread over all blocks."""
        chosen = self.positions[np.linspace(0, len(self) - 1, count).astype(int)]
        return [self.batch(tf.constant(chosen[begin : begin + self.batch_size])) for begin in range(0, count, self.batch_size)]

    def dataset(self) -> tf.data.Dataset:
        blocks = tf.data.Dataset.from_tensor_slices(self.positions).batch(self.batch_size)
        return blocks.map(self.batch, num_parallel_calls=2, deterministic=True).prefetch(2)

    def batch(self, position):
        """The block of some flat positions of held-out events, int64 [B]."""
        start = self._events.start_at(position)
        longest = tf.reduce_max(position - start)
        user, history = self._events.before(position, tf.clip_by_value(longest, 1, self.max_length))
        index = start[:, tf.newaxis] + tf.range(longest if self.repeats == "exclude" else tf.zeros_like(longest))
        seen = self._events.items(index, index < position[:, tf.newaxis], only=self._first)
        return {"user": user, "history": history, "target": self._events.items(position), "seen": seen}


class _Events:
    """Vectorised look-ups in the flat arrays."""

    def __init__(self, split: Split):
        sequences = split.sequences
        self._items = tf.constant(sequences.items, tf.int32)
        self._users = tf.constant(sequences.users(), tf.int32)
        self._start = tf.constant(sequences.offsets[:-1], tf.int64)
        self.weighted = sequences.weights is not None
        self._weights = tf.constant(sequences.weights, tf.float32) if self.weighted else None

    def users(self, position):
        """User whose event stands at each position."""
        return tf.gather(self._users, position)

    def start_at(self, position):
        """First event of the user whose event stands at each position."""
        return tf.gather(self._start, self.users(position) - 1)

    def weights(self, index, where):
        """Weights of the events at flat positions; 0 where not `where`."""
        return tf.where(where, tf.gather(self._weights, tf.where(where, index, 0)), 0.0)

    def items(self, index, where=None, only=None):
        """Items at flat positions; 0 where not `where`, or where `only` is False at the position."""
        if where is None:
            return tf.gather(self._items, index)
        index = tf.where(where, index, 0)
        if only is not None:
            where &= tf.gather(only, index)
        return tf.where(where, tf.gather(self._items, index), 0)

    def before(self, position, length):
        """User [B] of the events at `position` [B], and the `length` items before them, padded on the left [B, length]."""
        user = self.users(position)
        index = position[:, tf.newaxis] + tf.range(-tf.cast(length, tf.int64), 0)
        return user, self.items(index, index >= self.start_at(position)[:, tf.newaxis])


def _first_occurrences(split: Split) -> np.ndarray:
    """bool [E], True where a user meets an item for the first time."""
    sequences = split.sequences
    keys = sequences.users().astype(np.int64) * (sequences.num_items + 1) + sequences.items
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first
