"""Features of a batch, a dict of tensors: selecting, casting, cropping and extending them."""

import tensorflow as tf

# Features that a query does not depend on.
_LABELS = ("targets", "negatives", "normalizer", "sample_weight", "target", "seen")


def inputs_of(features: dict) -> dict:
    """Returns the features that a query depends on, without targets, negatives and weights."""
    return {name: value for name, value in features.items() if name not in _LABELS}


def with_wide_ids(features: dict) -> dict:
    """Returns features with int64 ids, because TensorFlow computes int32 on the host of a GPU."""
    return {
        name: tf.cast(value, tf.int64) if value.dtype == tf.int32 else value
        for name, value in features.items()
    }


def latest_events(inputs: dict, length: int | tf.Tensor) -> dict:
    """Returns features with the latest `length` events of each sequence."""
    return {
        name: value[:, -length:] if len(value.shape) > 1 else value
        for name, value in inputs.items()
    }


def sequences_of(inputs: dict) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns which events are real, and to which sequence they belong, for an encoder.

    Args:
        inputs: Features, packed or not; see `tfrec_attn.losses.packing.pack`.

    Returns:
        (mask bool [B, L], None) or, for packed features, (sequence numbers int [R, W], ages int
        [R, W]).
    """
    if "sequence" in inputs:
        return inputs["sequence"], inputs["age"]
    return inputs["history"] > 0, None


def append_mask(inputs: dict, mask: int) -> dict:
    """Appends the item `mask` to each history; other features of the new event are 0."""

    def longer(value, last):
        # tf.pad has no GPU kernel for int64.
        return tf.concat([value, tf.fill([tf.shape(value)[0], 1], tf.cast(last, value.dtype))], 1)

    return {
        name: longer(value, mask * (name == "history")) if len(value.shape) > 1 else value
        for name, value in inputs.items()
    }
