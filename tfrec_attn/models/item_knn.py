"""Item-kNN: the items that share users with the items of the history."""

from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.neighbour_rows import co_occurrences, popularity_levels
from tfrec_attn.data.sequences.splits import item_counts
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.layers.support import real_number
from tfrec_attn.models.base import SequenceModel

# Smaller than all sums of similarities, so that the ties only rank items without similarities.
_TIES = 1e-6


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class ItemKNN(SequenceModel):
    """Scores items by their similarity to the items of the history.

        score(j) = sum over p = 1..L of W[h_p, j] / p^recency + b_j,   h_1 is the latest item
        W[i, j] = |users of i and j| / (sqrt(|users of i| |users of j|) + shrink),   W[i, i] = 0

    The users of an item are those with a training event of it. b_j in [0, 1e-6) ranks the items
    without a similarity by popularity.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        neighbours: Number of items that a row of W keeps, the most similar ones. Default 100.
        shrink: Added to the denominator of W, so that rare items count less. Default 0.
        recency: Exponent of the position in the history; 0 weighs all items equally. Default 1.

    Shapes:
        "history" int [B, L] -> queries [B, 1], all 1; items [N + 1, 1], the b_j. The sum over the
        history is a sparse term of the scores.

    Deviations:
        The method of the paper weighs all items of the history equally (`recency=0`).

    Reference:
        Deshpande, Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 2004.
    """

    trains_on = "counts"
    recommended: ClassVar = {"data.max_length": 50}

    def __init__(
        self,
        num_users,
        num_items,
        max_length=50,
        *,
        neighbours=100,
        shrink=0.0,
        recency=1.0,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.neighbours = neighbours
        self.shrink = real_number("shrink", shrink, "0 or greater", lambda x: 0 <= x < 1e38)
        self.recency = recency
        self.ties = EmbeddingTable(num_items, 1, stddev=0.0, trainable=False, name="ties")
        self.rows = ItemNeighbours(num_items, neighbours, recency, name="rows")

    def count(self, split):
        self.rows.set_rows(*co_occurrences(split, self.rows.width, shrink=self.shrink))
        levels = np.append(0.0, popularity_levels(item_counts(split)))
        self.ties.embeddings.assign(_TIES * levels[:, np.newaxis])

    def query_vectors(self, features, training=False):
        return tf.ones([tf.shape(features["history"])[0], 1])

    def item_tables(self):
        return [self.ties]

    def prior(self, features):
        return self.rows(features["history"])
