"""The part of a model that is converted: from integers to a query."""

import tensorflow as tf

from tfrec_attn.models.base import SequenceModel


class Encoder(tf.Module):
    """The queries of a model, of numbers of items and users.

    The inputs are `history` int32 [B, L], items 1..N, latest last, 0 is padding on the left; and,
    if the model uses users, `user` int32 [B], 0 is unknown. The outputs are `query` float32 [B, D']
    and, with a prior, `prior_items` int32 [B, P] and `prior_scores` float32 [B, P], which add to
    the scores of these items; 0 is padding.

    Args:
        model: As `with_item_matrix` copies it.
        batch: B. None: any.

    Attributes:
        specs: The inputs by name.
        function: From the inputs to the outputs, a `tf.function`.
    """

    def __init__(self, model: SequenceModel, batch: int | None = None):
        super().__init__(name="encoder")
        self.specs = {"history": tf.TensorSpec([batch, model.max_length], tf.int32, "history")}
        if model.uses_user:
            self.specs["user"] = tf.TensorSpec([batch], tf.int32, "user")

        def encode(history, user=None):
            # A model that uses no users may take the number of rows from them.
            user = tf.zeros_like(history[:, 0]) if user is None else user
            features = {"user": user, "history": history}
            outputs, prior = {"query": model.query_vectors(features)}, model.prior(features)
            if prior is not None:
                outputs["prior_items"], outputs["prior_scores"] = prior
            return outputs

        self.function = tf.function(
            encode, input_signature=list(self.specs.values()), autograph=False
        )
        self._variables = list(self.concrete().variables)

    def concrete(self):
        """Returns the concrete function."""
        return self.function.get_concrete_function()

    def bytes(self) -> int:
        """Returns the size of the weights."""
        return sum(one.dtype.size * one.shape.num_elements() for one in self._variables)
