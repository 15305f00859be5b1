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
# Argument of `add_weight` by which mixed precision does not cast a weight.
WITHOUT_AUTOCAST = {"autocast": False}


class RowUpdates:
    """A mixin for Keras optimizers that define `update(gradient, variable, rate)`.

    `update` gets sparse gradients with unique rows, unless it sums repeated rows itself
    (`sums_rows`).
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
        """Returns the slot of a variable from a list with a slot for each variable."""
        return slots[self._get_variable_index(variable)].value


def build(optimizer, variables):
    """Creates the slots of an optimizer, unless they exist."""
    if optimizer.built:
        return
    optimizer.build(variables)
    # Averages start at the weights, as under Keras 2. Keras 3 starts them at 0 and replaces them
    # only in the first step. An overflow skips that step, and a warm start does not have it.
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
        # Keras divides the gradients again. A dynamic scale is a power of 2, so no bit changes.
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
    """Returns an input of `fit` that each worker makes for its own replicas.

    Args:
        strategy: The strategy of the model.
        dataset_of: A function of a `tf.distribute.InputContext`.
    """
    return strategy.distribute_datasets_from_function(dataset_of)


def progress_bar():
    """Returns the callback that prints the steps."""
    return tf.keras.callbacks.ProgbarLogger()


def _scale(optimizer):
    """Returns the number by which Keras divides the gradients that it applies, or None."""
    return optimizer.dynamic_scale.value if _is_dynamic(optimizer) else optimizer.loss_scale_factor


def _is_dynamic(optimizer):
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)


@contextlib.contextmanager
def _without_sum(optimizer):
    """Turns off the sum of gradients over replicas, which an optimizer of Keras 3 always makes."""
    # Replicas take turns, and each one sets and removes the attribute.
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
    try:
        yield
    finally:
        vars(optimizer).pop("_all_reduce_sum_gradients", None)
