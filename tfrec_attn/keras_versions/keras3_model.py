"""The base class of all models under Keras 3."""

import tensorflow as tf

from tfrec_attn.keras_versions.several_steps import several_steps


class Model(tf.keras.Model):
    """A `keras.Model` that traces a step once, and that makes no step after the end of an epoch.

    Keras 3 itself always runs `steps_per_execution` steps, even if fewer are left in the epoch. A
    test step on several replicas returns the metrics of all replicas; in Keras 3, a replica returns
    its own metrics.
    """

    # Number of steps of an epoch, of which `_steps_done` are done; None: not known.
    _epoch_steps = None
    _steps_done = 0

    def __setattr__(self, name, value):
        """Sets an attribute. A replaced layer that no other attribute has leaves the model."""
        before = vars(self).get(name)
        super().__setattr__(name, value)
        if isinstance(before, tf.keras.layers.Layer) and all(
            one is not before for one in vars(self).values()
        ):
            self._tracker.untrack(before)

    @property
    def submodules(self):
        """All layers in the model, as in a `tf.Module`."""
        return tuple(self._flatten_layers(include_self=False))

    def compile(self, *args, jit_compile=False, **kwargs):
        """Configures training, by default without XLA, which has no kernels to write single rows.

        Raises:
            ValueError: If the model was made in the scope of a strategy that Keras 3 does not
                support.
        """
        if isinstance(self.distribute_strategy, tf.distribute.ParameterServerStrategy):
            raise ValueError(
                "The strategy must be MirroredStrategy, MultiWorkerMirroredStrategy or one device, "
                "because Keras 3 cannot train with ParameterServerStrategy: make the model in the "
                "scope of one of these."
            )
        super().compile(*args, jit_compile=jit_compile, **kwargs)

    def fit(self, x=None, *args, steps_per_epoch=None, **kwargs):
        """Trains the model as Keras does."""
        self._epoch_steps, self._steps_done = steps_per_epoch or _cardinality(x), 0
        if isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset)):
            # Otherwise Keras 3 warns that it cannot shuffle this input.
            kwargs["shuffle"] = False
        return super().fit(x, *args, steps_per_epoch=steps_per_epoch, **kwargs)

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._train_function()
        return self.train_function

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_function = self._test_function()
        return self.test_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing, because the constructor has built all layers."""

    def _step_function(self, step, result):
        """Returns a function of an iterator that runs a step on all replicas.

        Args:
            step: Function of the batch of one replica.
            result: Function of the outputs of several replicas.
        """
        strategy = self.distribute_strategy

        def run(iterator):
            outputs = strategy.run(step, args=(iterator.get_next(),))
            if strategy.num_replicas_in_sync == 1:
                return outputs
            return result(outputs)

        if self.run_eagerly:
            return run
        return tf.function(
            run, reduce_retracing=True, jit_compile=self.jit_compile or None, autograph=False
        )

    def _first(self, outputs):
        """Returns the outputs of the first replica of this process."""
        local = self.distribute_strategy.experimental_local_results
        return {name: local(value)[0] for name, value in outputs.items()}

    def _results(self, outputs):
        return {one.name: one.result() for one in self.metrics if one.name in outputs}

    def _train_function(self):
        step, most = self._step_function(self.train_step, self._first), self.steps_per_execution
        if most == 1:
            return step
        # As an attribute, it would be saved with the weights.
        count = tf.Variable(most, trainable=False)
        several = several_steps(step, count)

        def run(iterator):
            number = most
            if self._epoch_steps:
                number = min(most, self._epoch_steps - self._steps_done)
                self._steps_done = (self._steps_done + number) % self._epoch_steps
            if self.run_eagerly:
                return [step(iterator) for _ in range(number)][-1]
            count.assign(number)
            return several(iterator)

        return run

    def _test_function(self):
        step, most = self._step_function(self.test_step, self._results), self.steps_per_execution

        def run(iterator):
            outputs = step(iterator)
            for _ in range(most - 1):
                try:
                    outputs = step(iterator)
                except (tf.errors.OutOfRangeError, StopIteration):
                    break
            return outputs

        return run


def _cardinality(dataset):
    """Returns the number of batches of a dataset, or None if it is not known."""
    count = int(dataset.cardinality()) if isinstance(dataset, tf.data.Dataset) else -1
    return count if count > 0 else None
