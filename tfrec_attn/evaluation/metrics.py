"""Ranking metrics: functions of ranks, and Keras metrics that average them over a stream.

A rank is 1 for the best item, and `MISS` for an item that cannot be recommended. Each held-out
item gives one rank; metrics are means over them.
"""

import tensorflow as tf

from tfrec_attn.evaluation.ranking import MISS


def hit_rate(ranks, k):
    """HR@k: 1 where rank <= k."""
    return tf.cast(ranks <= k, tf.float32)


def ndcg(ranks, k):
    """NDCG@k with one relevant item: 1 / log2(rank + 1) where rank <= k."""
    return tf.where(
        ranks <= k, 1.0 / (tf.math.log1p(tf.cast(ranks, tf.float32)) / tf.math.log(2.0)), 0.0
    )


def reciprocal_rank(ranks):
    """1 / rank over the full ranking, 0 for a miss; its mean is MRR."""
    return tf.where(ranks < MISS, 1.0 / tf.cast(ranks, tf.float32), 0.0)


def ranking_functions(k):
    """name -> function of ranks: HR@k and NDCG@k for every cut-off, then MRR."""
    functions = {}
    for cutoff in k:
        functions[f"HR@{cutoff}"] = lambda ranks, cutoff=cutoff: hit_rate(ranks, cutoff)
        functions[f"NDCG@{cutoff}"] = lambda ranks, cutoff=cutoff: ndcg(ranks, cutoff)
    functions["MRR"] = reciprocal_rank
    return functions


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class MeanOfRanks(tf.keras.metrics.Mean):
    """Mean of a function of ranks over all batches: `update_state(ranks)`, ranks int [B].

    Args:
      function: ranks -> float [B].
      name: as it stands in logs; a metric that is loaded finds its function by it.
    """

    def __init__(self, function, name, **kwargs):
        super().__init__(name=name, **kwargs)
        self.function = function

    @classmethod
    def from_config(cls, config):
        cutoff = config["name"].partition("@")[2]
        return cls(ranking_functions([int(cutoff)] if cutoff else [])[config["name"]], **config)

    def update_state(self, ranks, sample_weight=None):
        return super().update_state(self.function(ranks), sample_weight)


def ranking_metrics(k):
    """Keras metrics HR@k, NDCG@k for every cut-off, and MRR."""
    return [MeanOfRanks(function, name) for name, function in ranking_functions(k).items()]
