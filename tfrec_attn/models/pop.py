"""Pop: the most popular items."""

import numpy as np
import tensorflow as tf

from tfrec_attn.data.sequences.splits import item_counts
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class Pop(SequenceModel):
    """Scores items by their share of the training events.

        score(j) = events of j / all events

    The scores are the same for all users and histories, so the `source` of a response is "popular".

    Args:
        num_users: M; the scores do not depend on the user.
        num_items: N.
        max_length: L; the scores do not depend on the history. Default 50.

    Shapes:
        "history" int [B, L] -> queries [B, 1], all 1; items [N + 1, 1], their shares.
    """

    trains_on = "counts"
    uses_history = False

    def __init__(self, num_users, num_items, max_length=50, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.shares = EmbeddingTable(num_items, 1, stddev=0.0, trainable=False, name="shares")

    def count(self, split):
        counts = item_counts(split)
        shares = np.append(0.0, counts / max(counts.sum(), 1))
        self.shares.embeddings.assign(shares[:, np.newaxis])

    def query_vectors(self, features, training=False):
        return tf.ones([tf.shape(features["history"])[0], 1])

    def item_tables(self):
        return [self.shares]
