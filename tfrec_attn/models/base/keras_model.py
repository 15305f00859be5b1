"""The Keras side of all models: configuration, compiling, training steps, saving."""

import tensorflow as tf

from tfrec_attn.evaluation.metrics import ranking_metrics
from tfrec_attn.keras_versions import keras
from tfrec_attn.keras_versions.model import Model
from tfrec_attn.keras_versions.variables import check_same_keras, variable_of
from tfrec_attn.layers.dropout import masks_of_step
from tfrec_attn.layers.embedding_smoothing import EmbeddingSmoothing
from tfrec_attn.layers.embedding_table import EmbeddingTable, reading_in_place
from tfrec_attn.layers.support import kept_arguments, parameters_of
from tfrec_attn.layers.whole_tables import WholeTables
from tfrec_attn.losses import as_loss
from tfrec_attn.losses.features import with_wide_ids
from tfrec_attn.losses.objective import Distillation
from tfrec_attn.losses.position_objective import PositionObjective
from tfrec_attn.losses.smoothed_objective import SmoothedObjective
from tfrec_attn.losses.window_objective import WindowObjective
from tfrec_attn.optimizers.gradient_accumulation import accumulated_gradients
from tfrec_attn.optimizers.regularised_step import RegularisedStep, count_lookups

# A step reads a table as a whole from this number of lookups per row (benchmarks/attrec.py).
_LOOKUPS_PER_ROW = 2


class TracedConstant:
    """An attribute of a `KerasModel` that traced functions use as a constant.

    Setting it makes the model trace these functions again.
    """

    def __set_name__(self, owner, name):
        self._name = f"_traced_{name}"

    def __get__(self, model, owner=None):
        return self if model is None else getattr(model, self._name)

    def __set__(self, model, value):
        setattr(model, self._name, value)
        model.forget_traces()


class KerasModel(Model):
    """A model whose constructor builds all variables and keeps its arguments as attributes.

    It is a `tfrs.Model` under Keras 2 and a `keras.Model` under Keras 3.

    It can be saved in all Keras formats for subclassed models, also before it was called or
    trained. A loaded model is not compiled. A subclass has `num_items`, `max_length`, `trains_on`,
    `transition_prior` and `ranks`.
    """

    # Name of a parameter. If its value is not None, queries depend on the feature "gap", float32
    # [B]: the time from the latest event of the history to the next event.
    gap_parameter = None
    # Whether training calls `set_training_events`.
    uses_training_events = False
    # Whether `count` copies the weights of finished runs instead of counting events.
    joins_runs = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # A step returns the same values on all replicas.
        self.distribute_reduction_method = "first"
        # Otherwise Keras would build a loaded model by calling it with floats.
        self.built = True

    def forget_traces(self):
        """Removes traced functions, so that they are traced again."""
        self.test_function = self.predict_function = self.traced_top_k = None
        self._traced_ranks = None

    def traced_ranks(self):
        """Returns `ranks` as a `tf.function`, traced once for training and evaluation."""
        if self._traced_ranks is None:
            ranks = reading_in_place()(self.ranks)
            traced = tf.function(ranks, reduce_retracing=True, autograph=False)
            # A closure: Keras would save the function with the model.
            self._traced_ranks = lambda: traced
        return self._traced_ranks()

    def get_config(self):
        """Returns the arguments of the constructor.

        Raises:
            TypeError: If an argument is not an attribute of the model.
        """
        return kept_arguments(self)

    def twin(self):
        """Returns a new model with the same arguments and with weights of its own.

        If this model has a `transition_prior`, the new model has one of the same size.
        """
        result = type(self).from_config(self.get_config())
        if self.transition_prior is not None:
            layer = self.transition_prior
            result.transition_prior = type(layer).from_config(layer.get_config())
        return result

    @classmethod
    def from_config(cls, config):
        first = [one.name for one in parameters_of(cls) if one.kind == one.POSITIONAL_ONLY]
        named = {name: value for name, value in config.items() if name not in first}
        return cls(*(config[name] for name in first), **named)

    def get_compile_config(self):
        """Returns None, so that a loaded model is not compiled."""

    def set_training_events(self, users, items):
        """Gives the model the user 1..M and the item 1..N of each training event, int [E]."""

    def after_step(self):
        """Updates variables that depend on those that a step has changed. Default: none."""
        return None  # noqa: RET501  AutoGraph cannot convert a function without a statement.

    def for_serving(self):
        """Returns a model with the same scores, which need not be trainable. Default: itself."""
        return self

    def summands(self):
        """Returns pairs (weight, model) whose weighted scores add up to those of this model.

        The item vectors of this model are those of these models, concatenated. Default: this model
        with the weight 1.
        """
        return [(1.0, self)]

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
        score_penalty=1.0,
        softmax_precision="float32",
        clip_norm=None,
        accumulate=1,
        k=(5, 10, 20),
        seed=1,
        **kwargs,
    ):
        """Configures training, and evaluation by full ranking.

        Args:
            optimizer: Keras optimizer or its name. Default "adagrad".
            loss: Name in `tfrec_attn.losses.LOSSES`, a `Loss`, or a function (positive [B, T],
                negative [B, T, K], mask [B, T]) -> [B]. Default "hinge". A model that trains on
                "counts" has no loss.
            margin: Margin of "hinge" and "warp", in units of the score. Default 0.5.
            reduction: "sum" (default) or "mean" of the losses of windows or positions.
            l2: Weight of |row|^2 / 2 of the table rows that a step updates. Default 0.
            kernel_l2: Weight of |w|^2 / 2 of all other variables. Default 0.
            distillation: A `TransitionDistillation`, `GraphRegularization` or `EmbeddingSmoothing`
                layer, or None (default).
            distillation_weight: Weight of the loss of the layer. An `EmbeddingSmoothing` has no
                loss. Default 0.
            log_q: Float [N], logarithm of the probability that "sampled_softmax" draws each item;
                None (default): uniform.
            calibration: t of "gbce". Default 0.75.
            score_penalty: Weight of squared scores in "bpr_max". Default 1.
            softmax_precision: Type of the matrix products of "softmax" and of the distillation,
                "float32" (default) or "bfloat16".
            clip_norm: Largest global norm of the gradients of a step, including L2; None (default):
                no limit.
            accumulate: Number of micro-batches of a batch; a step computes one after the other and
                applies their gradients once. Default 1.
            k: Cut-offs of the metrics HR@k and NDCG@k. Default 5, 10, 20.
            seed: Seed of the dropout masks. Default 1.
            **kwargs: Arguments of `tf.keras.Model.compile`.

        Raises:
            ValueError: If the reduction or loss is unknown, the loss does not take the batches that
                the model trains on, or the item vectors of the model cannot be smoothed.
        """
        if kwargs.pop("from_serialized", False):
            # Keras loads a SavedModel, which does not contain these arguments.
            return
        if kwargs.get("metrics") or kwargs.get("weighted_metrics"):
            raise ValueError(
                "metrics must be None, because the metrics are HR, NDCG and MRR over the full "
                "catalogue: set their cut-offs by k."
            )
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be one of sum, mean, but is {reduction!r}.")
        check_same_keras("optimizer", optimizer)
        chosen = self._check_loss(loss)
        super().compile(optimizer=optimizer, **kwargs)
        self._loss_metric = tf.keras.metrics.Mean(name="loss")
        self._ranking_metrics = ranking_metrics(k)
        if chosen is None:
            return
        smoothing = None
        if isinstance(distillation, EmbeddingSmoothing):
            smoothing, distillation = distillation, None
            self._check_smoothing()
        elif distillation is not None:
            distillation = Distillation(distillation, distillation_weight)
        values = {
            "margin": margin,
            "calibration": calibration,
            "log_q": log_q,
            "num_items": self.num_items,
            "score_penalty": score_penalty,
            "softmax_precision": softmax_precision,
        }
        keywords = {name: values[value] for name, value in chosen.keywords.items()}
        kind = WindowObjective if self.trains_on == "windows" else PositionObjective
        self._objective = kind(chosen, reduction, distillation, keywords, softmax_precision)
        if smoothing is not None:
            self._objective = SmoothedObjective(self._objective, smoothing)
        for table in self._embeddings("items"):
            table.dense_gradients = chosen.negatives == "none"
        self._l2, self._kernel_l2, self._clip_norm = l2, kernel_l2, clip_norm
        self._accumulate, self._seed = accumulate, seed

    def _check_loss(self, loss):
        """Returns the `Loss`, or None for a model that only counts."""
        if self.trains_on == "counts":
            return None
        chosen = as_loss(loss)
        if self.trains_on not in chosen.batches:
            function = getattr(chosen.function, "__name__", chosen.function)
            raise ValueError(
                f"loss {loss if isinstance(loss, str) else function} takes "
                f"{' and '.join(chosen.batches)}, but {type(self).__name__} trains on "
                f"{self.trains_on}."
            )
        return chosen

    def _check_smoothing(self):
        """Raises ValueError if the item vectors cannot be smoothed."""
        if self.uses_training_events:
            raise ValueError(
                f"{type(self).__name__} already spreads its item vectors on a graph; leave the "
                "smoothing out (train.distillation.weight=0 in a configuration)."
            )
        if not self.vector_tables():
            raise ValueError(
                f"{type(self).__name__} has no EmbeddingTable of items whose vectors could be "
                "smoothed."
            )
        if any(table.constraint is not None for table in self.vector_tables()):
            raise ValueError(
                f"{type(self).__name__} keeps its item vectors within max_norm, which smoothed "
                "vectors can leave; set max_norm to None (null in a configuration)."
            )

    @property
    def metrics(self):
        if not hasattr(self, "_ranking_metrics"):
            return []
        return [self._loss_metric, *self._ranking_metrics]

    def get_metrics_result(self):
        """Returns the training loss of an epoch, over all replicas."""
        return {"loss": self._loss_metric.result()}

    def compute_loss(self, features, training=False):
        """Returns the loss of a batch, a scalar, with the features of `Windows` or `NextItems`."""
        return self._objective(self, with_wide_ids(features), training)[0]

    def count(self, split):
        """Sets the weights by the events of a `Split`, if the model trains on "counts"."""
        raise NotImplementedError(f"{type(self).__name__} trains on {self.trains_on}: call fit.")

    def make_train_function(self, force=False):
        if self.trains_on == "counts":
            raise ValueError(
                f"{type(self).__name__} has no loss to be fitted by: call count(split) instead."
            )
        # Keras traces a step twice if the optimizer creates variables in it.
        with self.distribute_strategy.scope():
            keras.build(self.optimizer, self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, features):
        """Updates the weights by one batch; L2 and constraints apply to each updated row once."""
        self._objective.check(self, features)
        features = with_wide_ids(features)
        lookups = count_lookups(features, {of: self.tables(of) for of in ("users", "items")})
        whole = self._whole_tables(lookups)
        masks = masks_of_step(self._seed, self.optimizer.iterations)
        with masks, reading_in_place(), WholeTables(whole).reading() as read:
            gradients, total, count = self._gradients(features)
        gradients = keras.unscaled_gradients(self.optimizer, gradients)
        constraints = {table.ref(): one for table, one in self.constrained_tables()}
        step = RegularisedStep(
            self.optimizer, constraints, self._l2, self._kernel_l2, self._clip_norm
        )
        used = {variable_of(one.embeddings).ref(): read.times(one) for one in whole}
        step(gradients, [variable_of(one) for one in self.trainable_variables], lookups, used)
        self.after_step()
        # A batch without a target of a weight above 0 has no loss.
        mean = tf.math.divide_no_nan(total, count)
        self._loss_metric.update_state(mean, sample_weight=count)
        # The loss of this replica: that of all replicas would take two exchanges between hosts.
        metric = self._loss_metric
        return {"loss": tf.math.divide_no_nan(tf.identity(metric.total), tf.identity(metric.count))}

    def test_step(self, features):
        """Ranks "target" among all items except those in "seen", for each "user" and "history"."""
        names = ("user", "history", "target", "seen")
        missing = [one for one in names if not isinstance(features, dict) or one not in features]
        if missing:
            raise ValueError(
                f"{type(self).__name__} must be evaluated on batches of HeldOut, with "
                f"{', '.join(names)}, but {missing[0]} is missing."
            )
        ranks = (self.ranks if self.run_eagerly else self.traced_ranks())(features)
        for metric in self._ranking_metrics:
            metric.update_state(ranks)
        return {metric.name: metric.result() for metric in self._ranking_metrics}

    def tables(self, of):
        """Returns the variables of the `EmbeddingTable`s of "users" or "items"."""
        return [layer.embeddings for layer in self._embeddings(of)]

    def vector_tables(self):
        """Returns the `EmbeddingTable`s of item vectors, which have more than one column."""
        return [table for table in self._embeddings("items") if table.dim > 1]

    def smoothing(self):
        """Returns the `EmbeddingSmoothing` of the training, or None."""
        return getattr(getattr(self, "_objective", None), "smoothing", None)

    def constrained_tables(self):
        """Returns the variables of all tables, each with its `MaxNorm` or None."""
        layers = self._embeddings("users", "items")
        return [(variable_of(layer.embeddings), layer.constraint) for layer in layers]

    def _embeddings(self, *of):
        return [
            layer
            for layer in self.submodules
            if isinstance(layer, EmbeddingTable) and layer.of in of
        ]

    def _whole_tables(self, lookups):
        """Returns the tables that a step on windows reads as a whole, but its loss does not."""
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if (
            self.trains_on != "windows"
            or self.smoothing() is not None
            or not getattr(optimizer, "keeps_rows_of_gradient_0", False)
        ):
            return []
        return [
            table
            for table in self._embeddings("users", "items")
            if not table.dense_gradients
            and _LOOKUPS_PER_ROW * (table.count + 1) <= lookups[variable_of(table.embeddings).ref()]
        ]

    def _gradients(self, features):
        return accumulated_gradients(self, self._objective, features, self._accumulate)
