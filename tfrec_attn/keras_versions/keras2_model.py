"""The base class of all models under Keras 2."""

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrec_attn.keras_versions.several_steps import several_steps


class Model(tfrs.Model):
    """A `tfrs.Model` that traces a step once, and is saved before it was called too.

    A subclass has `max_length`.
    """

    def save(self, *args, **kwargs):
        """Saves the model as Keras does, also before it was called."""
        if self.save_spec() is None:
            # Keras saves a SavedModel with the inputs of a call, and training does not call it.
            history = tf.zeros([1, self.max_length], tf.int32)
            self({"user": tf.zeros([1], tf.int32), "history": history})
        super().save(*args, **kwargs)

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._several(super().make_train_function)
        return self.train_function

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_function = self._several(super().make_test_function)
        return self.test_function

    def _several(self, make_function):
        """Returns what Keras makes, a step or with `steps_per_execution` several steps."""
        steps = self._steps_per_execution
        count = 1 if steps is None else int(steps.numpy())
        if count == 1 or self.run_eagerly or self.autotune_steps_per_execution:
            return make_function(force=True)
        # Keras reads the variable, which must not be set as an attribute: it would be a weight.
        steps.assign(1)
        try:
            return several_steps(make_function(force=True), steps)
        finally:
            steps.assign(count)
