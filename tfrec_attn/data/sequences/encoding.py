"""Ids as small integers."""

import numpy as np
import polars as pl


def encode(ids: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Returns the distinct ids by first appearance and the place of each event's id among them,
    int32 [E].
    """
    distinct = ids.unique(maintain_order=True)
    return distinct, ids.cast(pl.Enum(distinct)).to_physical().to_numpy().astype(np.int32)
