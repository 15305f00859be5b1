"""Baselines: popular items, and items that follow the last one."""

import numpy as np

from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.evaluation.ranking import ranks


class Popularity:
    """Scores items by their number of training events."""

    eager = True

    def __init__(self, split: Split):
        self.counts = item_counts(split).astype(np.float64)

    def __call__(self, features):
        scores = np.broadcast_to(self.counts, (len(features["target"]), len(self.counts)))
        return ranks(scores, features["target"], features["seen"])


class LastItemTransition:
    """Scores items by how often they follow the user's last item in the training events.

    A first-order Markov chain without smoothing; popularity breaks ties.
    """

    eager = True

    def __init__(self, split: Split):
        self._transitions = count_transitions(split)
        popularity = Popularity(split).counts
        self._popularity = popularity / (popularity.sum() + 1.0)

    def __call__(self, features):
        last = np.asarray(features["history"])[:, -1]
        scores = np.tile(self._popularity, (len(last), 1))
        offsets = self._transitions.offsets
        count = np.diff(offsets)[last]
        row = np.repeat(np.arange(len(last)), count)
        # Positions of the neighbours of each row's last item, one row after the other.
        pair = np.arange(count.sum()) + np.repeat(offsets[last] + count - np.cumsum(count), count)
        items = self._transitions.neighbours[pair] - 1
        scores[row, items] += self._transitions.counts[pair]
        return ranks(scores, features["target"], features["seen"])


BASELINES = {"pop": Popularity, "transition": LastItemTransition}
