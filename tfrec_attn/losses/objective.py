"""Training objectives: the loss of a batch, made from a model's query and item vectors.

An objective is called with (model, features, training, micro_batches) and returns (loss to
minimise, summed loss of the examples, number of examples). Features can come from one replica, and
from one of several micro-batches. The losses of all replicas and micro-batches add up to the loss
of the whole batch. Replicas exchange no counts: the weight of an example is a feature, or follows
from the number of examples of the replica.
"""

import math
from typing import ClassVar

import tensorflow as tf

from tfrec_attn import losses
from tfrec_attn.layers.rows import gather_dot, without_padding

# `trains_on` of a model -> class of its batches.
STREAMS = {"windows": "Windows", "next_items": "NextItems", "masked_items": "MaskedItems"}


class Distillation:
    """Distillation of item transitions, which adds a loss to an objective.

    Args:
        layer: A `TransitionDistillation`, or a layer with the same arguments of `call`, such as
            `GraphRegularization`.
        weight: Weight of the loss of the layer.
    """

    def __init__(self, layer, weight):
        self.layer = layer
        self.weight = weight

    def terms(self, model, items, weights, training):
        """Returns the loss as softmax losses over the catalogue and a remainder.

        Args:
            model: A `SequenceModel`.
            items: Input items, int [P].
            weights: Weight of each item in the loss, [P].
            training: Whether to apply dropout.

        Returns:
            (list of (queries, targets from 0, weights), remainder).
        """
        vectors = model.item_vectors()
        if not hasattr(self.layer, "softmax_terms"):
            return [], self.weight * self.layer(items, vectors, weights)
        queries, targets, weights, remainder = self.layer.softmax_terms(
            items, vectors, weights, training
        )
        return [(queries, targets, self.weight * weights)], self.weight * remainder


class Objective:
    """Base of the objectives, each for one kind of batches.

    Args:
        loss: A `Loss` that takes these batches.
        reduction: "sum" or "mean" over the examples.
        distillation: A `Distillation`, or None.
        keywords: Further keyword arguments of the function of the loss.
        softmax_precision: Type of the matrix products of softmax losses.

    Attributes:
        shared: Names of the features that each micro-batch gets as a whole.
        ndims: Number of dimensions of each feature.
        smoothing: An `EmbeddingSmoothing` of the item vectors in the loss, or None.
    """

    shared = ()
    smoothing = None
    ndims: ClassVar[dict[str, int]] = {"user": 1, "history": 2, "targets": 2}

    def __init__(self, loss, reduction, distillation, keywords, softmax_precision):
        self.loss = loss
        self.reduction = reduction
        self.distillation = distillation
        self.keywords = keywords
        self.softmax_precision = softmax_precision

    def check(self, model, features):
        """Checks that a batch has the features of the loss.

        Raises:
            ValueError: If a feature is missing or has another number of dimensions.
        """
        expected = dict(self.ndims)
        if self.loss.negatives != "none":
            expected["negatives"] = 2 if self.shared else 3
        features = features if isinstance(features, dict) else {}
        found = {name: len(value.shape) for name, value in features.items()}
        for name, ndim in expected.items():
            if found.get(name) != ndim:
                came = f"has {found[name]}" if name in found else "is missing"
                raise ValueError(
                    f"A batch of {STREAMS[model.trains_on]}, on which {type(model).__name__} "
                    f"trains, must have the feature {name} of {ndim} dimensions for this loss, "
                    f"but it {came}."
                )


def position_loss(loss, keywords, model, queries, targets, negatives, weights):
    """Returns the weighted sum of a loss over positions.

    Args:
        loss: A `Loss`.
        keywords: Further keyword arguments of its function.
        model: A `SequenceModel`.
        queries: [P, D].
        targets: Items 1..N, [P].
        negatives: Items [P, K] or [K], or None.
        weights: [P].
    """
    if loss.negatives == "none":
        return loss.function(
            queries, without_padding(model.item_vectors()), targets - 1, weights=weights, **keywords
        )
    unique, index = tf.unique(tf.concat([targets, tf.reshape(negatives, [-1])], axis=0), tf.int64)
    count = tf.size(targets)
    target, negative = index[:count], tf.reshape(index[count:], tf.shape(negatives))
    rows = model.item_vectors(unique)
    if loss.of == "scores":
        scores = gather_dot(queries, rows, tf.concat([target[:, tf.newaxis], negative], axis=1))
        positive, negative = scores[:, :1], scores[:, tf.newaxis, 1:]
        return tf.reduce_sum(
            weights * loss.function(positive, negative, tf.ones_like(positive, tf.bool), **keywords)
        )
    if "log_q" in keywords:
        log_q = keywords["log_q"]
        if log_q is None:
            log_q = tf.fill([tf.size(unique)], -math.log(model.num_items))
        else:
            log_q = tf.gather(log_q, unique - 1)
        keywords = {**keywords, "log_q": log_q}
    return loss.function(queries, rows, target, negative, weights=weights, **keywords)


def catalogue_loss(model, terms, precision):
    """Returns the summed softmax loss of several (queries, targets from 0, weights) in one pass."""
    if not terms:
        return 0.0
    queries, targets, weights = (tf.concat(parts, axis=0) for parts in zip(*terms, strict=True))
    items = without_padding(model.item_vectors())
    return losses.softmax(queries, items, targets, weights, products=precision)
