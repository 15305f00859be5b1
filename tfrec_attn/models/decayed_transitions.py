"""Decayed transitions: the items that followed the items of the history within some steps."""

from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.neighbour_rows import (
    check_decay,
    decayed_transitions,
    popularity_levels,
)
from tfrec_attn.data.sequences.splits import item_counts
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.item_neighbours import ItemNeighbours
from tfrec_attn.models.base import SequenceModel

# Smaller than all sums of counts, so that the ties only rank items without counts.
_TIES = 1e-6


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class DecayedTransitions(SequenceModel):
    """Scores items by how often they follow the items of the history within some steps.

        score(j) = sum over p = 1..L of R[h_p, j] / p^recency + b_j,   h_1 is the latest item
        R[i, j] = (sum of d^-decay over pairs with j d steps after i, d <= span,
                   + backward * the same with j d steps before i) / events of j^popularity_power

    The pairs are those of the training events. b_j in [0, 1e-6) ranks the items without a pair by
    popularity.

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L, number of latest items of the history. Default 50.
        span: Largest number of steps d between two items. Default 50.
        decay: Exponent of the number of steps. Default 0.5.
        backward: Weight of the pairs in the opposite order; 0 (default): none.
        popularity_power: Exponent of the number of training events. Default 0.25.
        recency: Exponent of the position in the history. Default 1.
        neighbours: Number of items that a row of R keeps, those with the largest values. Default
            200.

    Shapes:
        "history" int [B, L] -> queries [B, 1], all 1; items [N + 1, 1], the b_j. The sum over the
        history is a sparse term of the scores.

    Deviations:
        Sequential rules use only the last item (`recency=100`), with `span=10`, `decay=1`,
        `popularity_power=0` and `neighbours=20`.

    Reference:
        Ludewig, Jannach, "Evaluation of Session-based Recommendation Algorithms", UMUAI 2018
        (arXiv 1803.09587), for sequential rules.
    """

    trains_on = "counts"
    recommended: ClassVar = {"data.max_length": 50}

    def __init__(
        self,
        num_users,
        num_items,
        max_length=50,
        *,
        span=50,
        decay=0.5,
        backward=0.0,
        popularity_power=0.25,
        recency=1.0,
        neighbours=200,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        check_decay(span, decay, backward, popularity_power)
        self.span = span
        self.decay = decay
        self.backward = backward
        self.popularity_power = popularity_power
        self.recency = recency
        self.neighbours = neighbours
        self.ties = EmbeddingTable(num_items, 1, stddev=0.0, trainable=False, name="ties")
        self.rows = ItemNeighbours(num_items, neighbours, recency, name="rows")

    def count(self, split):
        rows = decayed_transitions(
            split,
            self.rows.width,
            span=self.span,
            decay=self.decay,
            backward=self.backward,
            popularity_power=self.popularity_power,
        )
        self.rows.set_rows(*rows)
        levels = np.append(0.0, popularity_levels(item_counts(split)))
        self.ties.embeddings.assign(_TIES * levels[:, np.newaxis])

    def query_vectors(self, features, training=False):
        return tf.ones([tf.shape(features["history"])[0], 1])

    def item_tables(self):
        return [self.ties]

    def prior(self, features):
        return self.rows(features["history"])
