"""The base class of all models under Keras 2."""

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrec_attn.keras_versions.several_steps import several_steps


class Model(tfrs.Model):
    """A `tfrs.Model` that traces a step once, and that can be saved before it is called.

    A subclass has `max_length`.
    """

    def save(self, *args, **kwargs):
        """Saves the model as Keras does, also before it was called."""
        if self.save_spec() is None:
            # Keras needs the inputs of a call to save a SavedModel. Training does not call the
            # model.
            history = tf.zeros([1, self.max_length], tf.int32)
            self({"user": tf.zeros([1], tf.int32), "history": history})
        super().save(*args, **kwargs)

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            step = self._step_function(self.train_step, self._train_counter)
            self.train_function = step or super().make_train_function(force=True)
        return self.train_function

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            step = self._step_function(self.test_step, self._test_counter)
            self.test_function = step or super().make_test_function(force=True)
        return self.test_function

    def _step_function(self, step, counter):
        """Returns a function of an iterator that runs a step, or `steps_per_execution` steps.

        Unlike the function of Keras, AutoGraph does not convert it. None: Keras must make it.
        """
        if self.run_eagerly or self.jit_compile or self.autotune_steps_per_execution:
            return None
        strategy = self.distribute_strategy
        if isinstance(strategy, tf.distribute.ParameterServerStrategy):
            return None

        def on_replica(data):
            outputs = step(data)
            counter.assign_add(1)
            return outputs

        @tf.function(reduce_retracing=True, autograph=False)
        def one(iterator):
            outputs = strategy.run(on_replica, args=(iterator.get_next(),))
            return {
                name: strategy.experimental_local_results(value)[0]
                for name, value in outputs.items()
            }

        steps = self._steps_per_execution
        return one if steps is None or steps.numpy() == 1 else several_steps(one, steps)
