"""Optimizers, loss scaling, input and callbacks under Keras 2."""

import tensorflow as tf

from tfrec_attn.keras_versions.variables import sum_repeated_rows

# Types of weights.
VARIABLES = (tf.Variable,)
# Argument of `add_weight` by which mixed precision does not cast a weight.
WITHOUT_AUTOCAST = {"experimental_autocast": False}


class RowUpdates:
    """A mixin for Keras optimizers that define `update(gradient, variable, rate)`.

    `update` gets sparse gradients with unique rows, unless it sums repeated rows itself
    (`sums_rows`). By default, XLA does not compile the optimizer, because XLA has no kernels that
    write single rows.
    """

    sums_rows = False
    _unique_rows = False

    def __init__(self, *args, jit_compile=False, **kwargs):
        super().__init__(*args, jit_compile=jit_compile, **kwargs)

    def apply_gradients(self, grads_and_vars, *args, unique_rows=False, **kwargs):
        """Applies gradients as Keras does.

        Args:
            grads_and_vars: Pairs of gradients and variables.
            *args: Arguments of the method of Keras.
            unique_rows: Whether the rows of each sparse gradient are already unique, over all
                replicas. Default False.
            **kwargs: Arguments of the method of Keras.
        """
        self._unique_rows = unique_rows
        return super().apply_gradients(grads_and_vars, *args, **kwargs)

    def _deduplicate_sparse_grad(self, grads):
        if self._unique_rows or self.sums_rows:
            return grads
        return [sum_repeated_rows(gradient) for gradient in grads]

    def update_step(self, gradient, variable):
        self.update(gradient, variable, self.learning_rate)

    def update_as_keras(self, gradient, variable, rate):
        """Updates a variable by the rule of Keras."""
        super().update_step(gradient, variable)

    def slot(self, slots, variable):
        """Returns the slot of a variable from a list with a slot for each variable."""
        return slots[self._index_dict[self._var_key(variable)]]


def build(optimizer, variables):
    """Creates the slots of an optimizer, unless they exist."""
    optimizer.build(variables)


def apply_summed(optimizer, pairs):
    """Applies gradients that are already summed over all replicas.

    Args:
        optimizer: Keras optimizer.
        pairs: Gradients, dense or sparse with unique rows, and their variables.
    """
    options = {"unique_rows": True} if isinstance(optimizer, RowUpdates) else {}
    optimizer.apply_gradients(pairs, skip_gradients_aggregation=True, **options)


def scaled_loss(optimizer, loss):
    """Returns the loss whose gradients `unscaled_gradients` takes."""
    return optimizer.get_scaled_loss(loss) if _scales(optimizer) else loss


def unscaled_gradients(optimizer, gradients):
    """Returns the gradients of the loss, given those of `scaled_loss`."""
    return optimizer.get_unscaled_gradients(gradients) if _scales(optimizer) else gradients


def loss_scale_state(optimizer):
    """Returns the state of the loss scaling for `tf.train.Checkpoint`, or None."""
    return optimizer._loss_scale if _scales(optimizer) else None


def distributed_input(strategy, dataset_of):
    """Returns an input of `fit` that each worker makes for its own replicas.

    Args:
        strategy: The strategy of the model.
        dataset_of: A function of a `tf.distribute.InputContext`.
    """
    return tf.keras.utils.experimental.DatasetCreator(dataset_of)


def progress_bar():
    """Returns the callback that prints the steps."""
    return tf.keras.callbacks.ProgbarLogger("steps")


def _scales(optimizer):
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
