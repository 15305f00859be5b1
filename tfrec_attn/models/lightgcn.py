"""LightGCN: matrix factorisation with vectors that spread along the graph of users and items."""

from typing import ClassVar

import tensorflow as tf

from tfrec_attn.layers.embedding_table import EmbeddingTable
from tfrec_attn.layers.graph_propagation import GraphPropagation
from tfrec_attn.models.base import SequenceModel


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class LightGCN(SequenceModel):
    """Scores items by the inner product of user and item vectors, spread along training events.

        score(j) = u . v_j
        (u, v) = mean over the layers 0..K of A^k (U, V)
        A = adjacency of users and items in the training events / sqrt(degree * degree)

    U and V are trained. After each step the model stores what the graph adds to U and V, so scores,
    saved models and exports need no graph. An export contains only the sums. The training command
    sets the graph with `set_training_events`. Without a graph, the model is a matrix factorisation
    by U and V. An unknown user gets the most popular items.

    Args:
        num_users: M.
        num_items: N, at least 2.
        max_length: L; the scores do not depend on the history. Default 1.
        dim: D, width of the tables U [M, D] and V [N, D]. Default 64.
        num_layers: K. Default 3; 0: no graph.
        stddev: Standard deviation of the initial U and V. Default 0.1.

    Shapes:
        "user" int [B] -> queries [B, D]; items [N + 1, D].

    Deviations:
        From the authors' code: L2 applies to all rows at each step, not only to those of its
        examples.

    Reference:
        He, Deng, Wang, Li, Zhang, Wang, "LightGCN: Simplifying and Powering Graph Convolution
        Network for Recommendation", SIGIR 2020 (arXiv 2002.02126).
    """

    uses_user = True
    uses_history = False
    uses_training_events = True

    recommended: ClassVar = {
        "data.max_length": 1,
        "data.targets": 1,
        "data.window": "all",
        "train.epochs": 100,
        "train.patience": 10,
        "train.batch_size": 2048,
        "train.optimizer": "adam",
        "train.learning_rate": 0.005,
        "train.loss": "bpr",
        "train.reduction": "mean",
        "train.negatives": 1,
        "train.l2": 1e-6,
    }

    def __init__(
        self, num_users, num_items, max_length=1, *, dim=64, num_layers=3, stddev=0.1, **kwargs
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        if num_items < 2:
            raise ValueError(
                f"num_items must be at least 2 for a graph, but is {num_items}; train on a "
                "log with more items, or train another model."
            )
        if num_layers < 0:
            raise ValueError(f"num_layers must be 0 or greater, but is {num_layers}.")
        self.dim = dim
        self.num_layers = num_layers
        self.stddev = stddev
        self.users = EmbeddingTable(num_users, dim, of="users", stddev=stddev, name="users")
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, name="items")
        self.added_to_users = self.added_to_items = None
        if num_layers:
            added = {"stddev": 0.0, "trainable": False}
            self.added_to_users = EmbeddingTable(
                num_users, dim, of="users", name="added_to_users", **added
            )
            self.added_to_items = EmbeddingTable(num_items, dim, name="added_to_items", **added)
        self._graph = lambda: None

    def set_training_events(self, users, items):
        if not self.num_layers:
            return
        graph = GraphPropagation(self.num_users, self.num_items, users, items, self.num_layers)
        # A closure: Keras would save a layer, and its edges, with the model.
        self._graph = lambda: graph
        self.train_function = None
        self.after_step()

    def after_step(self):
        graph = self._graph()
        if graph is None:
            return
        tables = [table.rows() for table in (self.users, self.items)]
        added = self.added_to_users, self.added_to_items
        for one, spread, rows in zip(added, graph(*tables), tables, strict=True):
            one.embeddings.assign(spread - rows)

    def for_serving(self):
        model = type(self).from_config({**self.get_config(), "num_layers": 0})
        model.users.embeddings.assign(self._rows(self.users, self.added_to_users))
        model.items.embeddings.assign(self.item_vectors())
        return model

    def query_vectors(self, features, training=False):
        user = features["user"]
        if self._graph() is None:
            rows = self._rows(self.users, self.added_to_users, user)
        else:
            rows = self._spread_rows(self.users, self.added_to_users, user, self._graph().of_users)
        return rows * tf.cast(user > 0, rows.dtype)[:, tf.newaxis]

    def item_vectors(self, items=None):
        if self._graph() is None:
            return self._rows(self.items, self.added_to_items, items)
        return self._spread_rows(self.items, self.added_to_items, items, self._graph().of_items)

    def item_columns(self):
        return {} if self.num_layers else {self.items: 0}

    @staticmethod
    def _rows(table, added, ids=None):
        return table.rows(ids) if added is None else table.rows(ids) + added.rows(ids)

    def _spread_rows(self, table, added, ids, spread):
        """Returns rows of table + added; their gradient spreads along the graph to all rows."""
        value = tf.stop_gradient(self._rows(table, added, ids))

        @tf.custom_gradient
        def rows(users, items):
            def gradient(upstream):
                if ids is not None:
                    upstream = tf.math.unsorted_segment_sum(upstream, ids, table.count + 1)
                return spread(upstream)

            return value, gradient

        return rows(self.users.rows(), self.items.rows())
