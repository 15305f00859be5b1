"""What Keras asks of a model, whatever it computes: a configuration, compiling, steps, saving."""

import inspect

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrec_attn.evaluation.metrics import ranking_metrics
from tfrec_attn.layers.dropout import masks_of_step
from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.losses import as_loss
from tfrec_attn.losses.objectives import OBJECTIVES, Distilled
from tfrec_attn.optimizers.regularised_step import RegularisedStep
from tfrec_attn.optimizers.training_step import gradients_of, ids_named, scales_loss

_UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class KerasModel(tfrs.Model):
    """A model whose constructor makes all variables and keeps each of its arguments as an
    attribute.

    It is saved and loaded in every format that Keras has for subclassed models, called or not,
    trained or not. A loaded model is not compiled. A subclass has `num_items`, `max_length`,
    `trains_on` and `ranks`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # What a step returns is the same on every replica.
        self.distribute_reduction_method = "first"
        # All variables are there. Else Keras builds a loaded model by calling it with floats.
        self.built = True

    def get_config(self):
        """Returns the arguments of the constructor.

        Raises:
            TypeError: If the model does not keep one as an attribute.
        """
        names = [one.name for one in _arguments(type(self))]
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            raise TypeError(
                f"{type(self).__name__} must keep its argument {missing[0]} as an attribute of that name to be saved."
            )
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config):
        first = [one.name for one in _arguments(cls) if one.kind == one.POSITIONAL_ONLY]
        named = {name: value for name, value in config.items() if name not in first}
        return cls(*(config[name] for name in first), **named)

    def save(self, *args, **kwargs):
        """Saves the model as Keras does, whether it was called or not."""
        if self.save_spec() is None:
            # Keras traces a SavedModel by what the model was called with, and training does not
            # call it.
            history = tf.zeros([1, self.max_length], tf.int32)
            self({"user": tf.zeros([1], tf.int32), "history": history})
        super().save(*args, **kwargs)

    def get_compile_config(self):
        """Returns None: a loaded model is compiled by whoever trains it on."""

    def compile(
        self,
        optimizer="adagrad",
        loss="hinge",
        *,
        margin=0.5,
        reduction="sum",
        l2=0.0,
        kernel_l2=0.0,
        distillation=None,
        distillation_weight=0.0,
        log_q=None,
        calibration=0.75,
        clip_norm=None,
        accumulate=1,
        k=(5, 10, 20),
        seed=1,
        **kwargs,
    ):
        """Sets up training and evaluation by full ranking.

        Args:
          optimizer: Keras optimizer or its name.
          loss: name in `tfrec_attn.losses.LOSSES`, a `Loss`, or a function (positive [B, T],
              negative [B, T, K], mask [B, T]) -> [B].
          margin: of the hinge loss, in units of the score.
          reduction: "sum" (default): the loss of a step is the sum over its windows or positions,
              as AttRec's authors train; "mean".
          l2: weight of |row|^2 / 2 on the table rows that have a gradient: with pairwise losses
              those that a step touches, each once.
          kernel_l2: weight of |w|^2 / 2 on all other weights.
          distillation: a `TransitionDistillation` layer, or None; its loss of the input items is
              added with `distillation_weight`.
          log_q: float [N], logarithm of how often "sampled_softmax" draws each item; default
              uniform.
          calibration: t of "gbce", 0 is "bce". Default 0.75.
          clip_norm: the gradients of a step are scaled so that the norm of all of them together, L2
              included, is at most this; None: never.
          accumulate: parts into which a step cuts its batch; it computes one after the other and
              applies their gradients once.
          k: cut-offs of the metrics HR@k and NDCG@k; MRR is always there.
          seed: of dropout, whose masks are a function of it and of the steps that the optimizer has
              done.
        """
        if kwargs.pop("from_serialized", False):
            # Keras loads a SavedModel, which does not hold these arguments.
            return
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be one of sum, mean, but is {reduction!r}.")
        chosen = as_loss(loss)
        if self.trains_on not in chosen.batches:
            named = (
                loss
                if isinstance(loss, str)
                else getattr(chosen.function, "__name__", chosen.function)
            )
            raise ValueError(
                f"loss {named} takes {' and '.join(chosen.batches)}, but {type(self).__name__} trains on {self.trains_on}."
            )
        super().compile(optimizer=optimizer, **kwargs)
        distilled = (
            Distilled(distillation, distillation_weight) if distillation is not None else None
        )
        values = {
            "margin": margin,
            "calibration": calibration,
            "log_q": log_q,
            "num_items": self.num_items,
        }
        keywords = {name: values[value] for name, value in chosen.keywords.items()}
        self._objective = OBJECTIVES[self.trains_on](chosen, reduction, distilled, keywords)
        for table in self._embeddings("items"):
            table.dense_gradients = chosen.negatives == "none"
        self._l2, self._kernel_l2, self._clip_norm, self._accumulate = (
            l2,
            kernel_l2,
            clip_norm,
            accumulate,
        )
        self._seed = seed
        self._loss_metric = tf.keras.metrics.Mean(name="loss")
        self._ranking_metrics = ranking_metrics(k)

    @property
    def metrics(self):
        return (
            [self._loss_metric, *self._ranking_metrics] if hasattr(self, "_ranking_metrics") else []
        )

    def get_metrics_result(self):
        """What training tells at the end of an epoch, over all replicas."""
        return {"loss": self._loss_metric.result()}

    def compute_loss(self, features, training=False):
        """The loss of a batch, a scalar; see `Windows` and `NextItems` for the features. Padded
        targets count nothing.
        """
        return self._objective(self, features, training)[0]

    def make_train_function(self, force=False):
        # Keras traces a step twice if the optimizer makes its variables in it.
        self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, features):
        """One step; L2, clipping and the row constraints see each touched row once, however many
        replicas or parts touched it.
        """
        with masks_of_step(self._seed, self.optimizer.iterations):
            gradients, total, count = self._gradients(features)
        if scales_loss(self.optimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        bounds = {
            table.embeddings.ref(): table.constraint for table in self._embeddings("users", "items")
        }
        step = RegularisedStep(self.optimizer, bounds, self._l2, self._kernel_l2, self._clip_norm)
        named = ids_named(features, {of: self.tables(of) for of in ("users", "items")})
        step(gradients, self.trainable_variables, named)
        self._loss_metric.update_state(total / count, sample_weight=count)
        return {"loss": self._loss_metric.result()}

    def test_step(self, features):
        """Ranks {"user", "history", "target", "seen"} against the full catalogue."""
        ranks_ = self.ranks(features)
        for metric in self._ranking_metrics:
            metric.update_state(ranks_)
        return {metric.name: metric.result() for metric in self._ranking_metrics}

    def tables(self, of):
        """Returns the variables of the `EmbeddingTable`s of "users" or of "items"."""
        return [layer.embeddings for layer in self._embeddings(of)]

    def _embeddings(self, *of):
        return [
            layer
            for layer in self.submodules
            if isinstance(layer, EmbeddingTable) and layer.of in of
        ]

    def _gradients(self, features):
        return gradients_of(self, self._objective, features, self._accumulate)


def _arguments(cls):
    """The named arguments of a model's constructor."""
    found = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [one for one in found if one.kind not in _UNNAMED]
