"""Two rankings that any trained model must beat: what is popular, and what follows the last item."""

import numpy as np

from tfrec_attn.data.splits import Split
from tfrec_attn.ranking import ranks


class Popularity:
    """Scores an item by how often it stands in the training events."""

    eager = True

    def __init__(self, split: Split):
        items = split.sequences.items[split.train_mask()]
        self.counts = np.bincount(items, minlength=split.sequences.num_items + 1)[1:].astype(np.float64)

    def __call__(self, features):
        scores = np.broadcast_to(self.counts, (len(features["target"]), len(self.counts)))
        return ranks(scores, features["target"], features["seen"])


class LastItemTransition:
    """Scores an item by how often it followed the user's last item in the training events; popularity breaks ties.

    A first-order Markov chain without smoothing. Only observed pairs are kept.
    """

    eager = True

    def __init__(self, split: Split):
        sequences = split.sequences
        mask, users = split.train_mask(), sequences.users()
        first = np.flatnonzero(mask[:-1] & mask[1:] & (users[:-1] == users[1:]))
        size = sequences.num_items + 1
        pairs, self._counts = np.unique(sequences.items[first].astype(np.int64) * size + sequences.items[first + 1], return_counts=True)
        before, self._after = np.divmod(pairs, size)
        self._begin = np.searchsorted(before, np.arange(size + 1))
        popularity = Popularity(split).counts
        self._popularity = popularity / (popularity.sum() + 1.0)

    def __call__(self, features):
        last = np.asarray(features["history"])[:, -1]
        scores = np.tile(self._popularity, (len(last), 1))
        begin, count = self._begin[last], np.diff(self._begin)[last]
        row = np.repeat(np.arange(len(last)), count)
        pair = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)
        scores[row, self._after[pair] - 1] += self._counts[pair]
        return ranks(scores, features["target"], features["seen"])


BASELINES = {"pop": Popularity, "transition": LastItemTransition}
