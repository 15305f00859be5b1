"""Optimizers, loss scaling, input and callbacks under Keras 3."""

import contextlib

import tensorflow as tf

from tfrec_attn.keras_versions.variables import (
    averages_of,
    scale_gradient,
    sum_repeated_rows,
    variable_of,
)

if tf.keras.backend.backend() != "tensorflow":
    raise ImportError(
        "tfrec_attn needs the TensorFlow backend of Keras 3, but this process has "
        f"{tf.keras.backend.backend()}: set KERAS_BACKEND=tensorflow before Keras is imported."
    )

# Types of weights.
VARIABLES = (tf.Variable, tf.keras.Variable)
# Argument of `add_weight`: no lower precision for a weight.
WITHOUT_AUTOCAST = {"autocast": False}


class RowUpdates:
    """A mixin of Keras optimizers whose subclass defines `update(gradient, variable, rate)`.

    Sparse gradients reach it with unique rows, unless it sums them itself (`sums_rows`).
    """

    sums_rows = False
    _unique_rows = False

    def apply_gradients(self, grads_and_vars, unique_rows=False):
        """Applies gradients as Keras does.

        Args:
            grads_and_vars: Pairs of gradients and variables.
            unique_rows: Whether the rows of each sparse gradient are already unique, over all
                replicas. Default False.
        """
        self._unique_rows = unique_rows
        return super().apply_gradients(grads_and_vars)

    def update_step(self, gradient, variable, learning_rate):
        if not (self._unique_rows or self.sums_rows):
            gradient = sum_repeated_rows(gradient)
        self.update(gradient, variable, learning_rate)

    def update_as_keras(self, gradient, variable, rate):
        """Updates a variable by the rule of Keras."""
        super().update_step(gradient, variable, rate)

    def slot(self, slots, variable):
        """Returns the slot of a variable in a list of one for each."""
        return slots[self._get_variable_index(variable)].value


def build(optimizer, variables):
    """Creates the slots of an optimizer, unless they exist."""
    if optimizer.built:
        return
    optimizer.build(variables)
    # Averages start at the weights, as under Keras 2. Keras 3 starts them at 0 and replaces them in
    # the first step only, which an overflow skips and a warm start does not have.
    for average, variable in zip(averages_of(optimizer), variables, strict=False):
        average.assign(variable_of(variable))


def apply_summed(optimizer, pairs):
    """Applies gradients that are already summed over all replicas.

    Args:
        optimizer: Keras optimizer.
        pairs: Gradients, dense or sparse with unique rows, and their variables.
    """
    options = {"unique_rows": True} if isinstance(optimizer, RowUpdates) else {}
    scale, inner = _scale(optimizer), getattr(optimizer, "inner_optimizer", optimizer)
    if scale is not None:
        # Keras divides them again. A dynamic scale is a power of 2, so that no bit changes.
        pairs = [(scale_gradient(gradient, scale), variable) for gradient, variable in pairs]
    number = inner.iterations + 1
    with _without_sum(inner):
        optimizer.apply_gradients(pairs, **options)
    if _is_dynamic(optimizer):
        # A step that overflows counts too, as under Keras 2.
        inner.iterations.assign(number)


def scaled_loss(optimizer, loss):
    """Returns the loss whose gradients `unscaled_gradients` takes."""
    return optimizer.scale_loss(loss)


def unscaled_gradients(optimizer, gradients):
    """Returns the gradients of the loss, given those of `scaled_loss`."""
    scale = _scale(optimizer)
    if scale is None:
        return gradients
    return [scale_gradient(gradient, 1.0 / scale) for gradient in gradients]


def loss_scale_state(optimizer):
    """Returns the state of the loss scaling for `tf.train.Checkpoint`, or None."""
    if not _is_dynamic(optimizer):
        return None
    return tf.train.Checkpoint(
        current_loss_scale=optimizer.dynamic_scale.value, good_steps=optimizer.step_counter.value
    )


def distributed_input(strategy, dataset_of):
    """Returns the input of `fit` that each worker makes for its replicas.

    Args:
        strategy: The strategy of the model.
        dataset_of: A function of a `tf.distribute.InputContext`.
    """
    return strategy.distribute_datasets_from_function(dataset_of)


def progress_bar():
    """Returns the callback that prints the steps."""
    return tf.keras.callbacks.ProgbarLogger()


def _scale(optimizer):
    """Returns by what Keras divides the gradients that it applies, or None."""
    return optimizer.dynamic_scale.value if _is_dynamic(optimizer) else optimizer.loss_scale_factor


def _is_dynamic(optimizer):
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)


@contextlib.contextmanager
def _without_sum(optimizer):
    """Keeps an optimizer from adding up the gradients of the replicas, which it always does."""
    # Replicas take turns, and each sets and removes it.
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
    try:
        yield
    finally:
        vars(optimizer).pop("_all_reduce_sum_gradients", None)
