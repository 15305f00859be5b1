"""Transition: the items that most often follow the last one."""

from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.neighbour_rows import decayed_transitions, popularity_levels
from tfrec_attn.data.sequences.splits import item_counts
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Transition(SequenceModel):
    """Scores items by how often they follow the latest item of the history: a Markov chain.

        score(j) = C[l, j] + b_j,   l is the latest item

    C[l, j] is how often j comes right after l in the training events. b_j in [0, 1) breaks ties by
    popularity.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L; only the latest item of the history counts. Default 50.
        neighbours: Number of items that a row of C keeps, the most frequent ones. Default 200.

    Shapes:
        "history" int [B, L] -> queries [B, 1], all 1; items [N + 1, 1], the b_j. The counts are a
        sparse term of the scores.
    """

    trains_on = "counts"
    recommended: ClassVar = {"data.max_length": 50}

    def __init__(self, num_users, num_items, max_length=50, *, neighbours=200, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.neighbours = neighbours
        self.ties = EmbeddingTable(num_items, 1, stddev=0.0, trainable=False, name="ties")
        self.rows = ItemNeighbours(num_items, neighbours, name="rows")

    def count(self, split):
        rows = decayed_transitions(
            split, self.rows.width, span=1, decay=0.0, backward=0.0, popularity_power=0.0
        )
        self.rows.set_rows(*rows)
        levels = np.append(0.0, popularity_levels(item_counts(split)))
        self.ties.embeddings.assign(levels[:, np.newaxis])

    def query_vectors(self, features, training=False):
        return tf.ones([tf.shape(features["history"])[0], 1])

    def item_tables(self):
        return [self.ties]

    def prior(self, features):
        return self.rows(features["history"][:, -1:])
