"""Ranking metrics as functions of ranks, and as Keras metrics.

The best item has rank 1; an item that cannot be recommended has rank `MISS`. Metrics are means over
the held-out items.
"""

import tensorflow as tf

from tfrec_attn.evaluation.ranking import MISS


def hit_rate(ranks, k):
    """Returns HR@k: 1 where rank <= k, else 0."""
    return tf.cast(ranks <= k, tf.float32)


def ndcg(ranks, k):
    """Returns NDCG@k with one relevant item: 1 / log2(rank + 1) where rank <= k, else 0."""
    return tf.where(
        ranks <= k, 1.0 / (tf.math.log1p(tf.cast(ranks, tf.float32)) / tf.math.log(2.0)), 0.0
    )


def reciprocal_rank(ranks):
    """Returns 1 / rank, 0 for a miss; its mean is MRR."""
    return tf.where(ranks < MISS, 1.0 / tf.cast(ranks, tf.float32), 0.0)


def ranking_functions(k):
    """Returns functions of ranks by name: HR@k and NDCG@k for each cut-off, then MRR."""
    functions = {}
    for cutoff in k:
        functions[f"HR@{cutoff}"] = lambda ranks, cutoff=cutoff: hit_rate(ranks, cutoff)
        functions[f"NDCG@{cutoff}"] = lambda ranks, cutoff=cutoff: ndcg(ranks, cutoff)
    functions["MRR"] = reciprocal_rank
    return functions


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MeanOfRanks(tf.keras.metrics.Mean):
    """The mean of a function of ranks over all batches.

    Args:
        function: Function of ranks int [B] that returns float [B].
        name: Name in logs, from which `from_config` gets the function.
    """

    def __init__(self, function, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.function = function

    @classmethod
    def from_config(cls, config):
        cutoff = config["name"].partition("@")[2]
        return cls(ranking_functions([int(cutoff)] if cutoff else [])[config["name"]], **config)

    @tf.autograph.experimental.do_not_convert
    def update_state(self, ranks, sample_weight=None):
        return super().update_state(self.function(ranks), sample_weight)


def ranking_metrics(k):
    """Returns the Keras metrics HR@k and NDCG@k for each cut-off, and MRR."""
    return [MeanOfRanks(function, name) for name, function in ranking_functions(k).items()]
