"""Collaborative metric learning, as a model of another package."""

from typing import ClassVar

from tfrec_attn.layers import EmbeddingTable, SquaredDistance
from tfrec_attn.models import SequenceModel


class CML(SequenceModel):
    """Scores items by `-|u - v_j|^2`, whatever the history (Hsieh et al., WWW 2017)."""

    uses_user = True
    uses_history = False
    recommended: ClassVar = {"train.loss": "hinge", "data.targets": 1}

    def __init__(
        self,
        num_users,
        num_items,
        max_length=1,
        *,
        dim=8,
        stddev=0.1,
        max_norm: float | None = 1.0,
        **kwargs,
    ):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim, self.stddev, self.max_norm = dim, stddev, max_norm
        self.distance = SquaredDistance()
        self.users = EmbeddingTable(
            num_users, dim, of="users", stddev=stddev, max_norm=max_norm, name="users"
        )
        self.items = EmbeddingTable(num_items, dim, stddev=stddev, max_norm=max_norm, name="items")

    def query_vectors(self, features, training=False):
        return self.distance.query(self.users(features["user"]))

    def item_vectors(self, items=None):
        return self.distance.item(self.items.rows(items))

    def item_columns(self):
        return {self.items: 0}
