"""Two rankings that any trained model must beat: what is popular, and what follows the last item."""

import numpy as np

from tfrec_attn.data.sequences.splits import item_counts
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.evaluation.ranking import ranks


class Popularity:
    """Scores an item by how often it stands in the training events."""

    eager = True

    def __init__(self, split: Split):
        self.counts = item_counts(split).astype(np.float64)

    def __call__(self, features):
        scores = np.broadcast_to(self.counts, (len(features["target"]), len(self.counts)))
        return ranks(scores, features["target"], features["seen"])


class LastItemTransition:
    """Scores an item by how often it followed the user's last item in the training events;
    popularity breaks ties.

    A first-order Markov chain without smoothing. Only observed pairs are kept.
    """

    eager = True

    def __init__(self, split: Split):
        transitions = count_transitions(split)
        self._begin, self._after, self._counts = (
            transitions.offsets,
            transitions.neighbours,
            transitions.counts,
        )
        popularity = Popularity(split).counts
        self._popularity = popularity / (popularity.sum() + 1.0)

    def __call__(self, features):
        last = np.asarray(features["history"])[:, -1]
        scores = np.tile(self._popularity, (len(last), 1))
        begin, count = self._begin[last], np.diff(self._begin)[last]
        row = np.repeat(np.arange(len(last)), count)
        pair = (
            np.arange(count.sum())
            - np.repeat(np.cumsum(count) - count, count)
            + np.repeat(begin, count)
        )
        scores[row, self._after[pair] - 1] += self._counts[pair]
        return ranks(scores, features["target"], features["seen"])


BASELINES = {"pop": Popularity, "transition": LastItemTransition}
