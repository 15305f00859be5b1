"""The training events as pairs of a user and an item."""

import numpy as np

from tfrec_attn.data.sequences.splits import Split


def training_pairs(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Returns the user 1..M and the item 1..N of each training event, int32 [E]."""
    sequences = split.sequences
    if sequences.items is not None:
        mask = split.train_mask()
        return sequences.users()[mask], sequences.items[mask]
    users, items = [], []
    for shard in split.shards():
        mask = shard.train_mask()
        users.append(np.repeat(shard.users, shard.lengths)[mask].astype(np.int32))
        items.append(shard.items[mask])
    return np.concatenate(users), np.concatenate(items)
