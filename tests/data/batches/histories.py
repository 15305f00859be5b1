"""Splits of short histories for the tests of batches, and what a pass over them holds."""

import dataclasses

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.vocabulary import Vocabulary


def sequences_of(*histories, num_items=None):
    items = np.array([item for history in histories for item in history], np.int32)
    offsets = np.cumsum([0, *map(len, histories)])
    count = num_items or int(items.max())
    names = (
        Vocabulary([f"u{i}" for i in range(len(histories))]),
        Vocabulary([f"i{i}" for i in range(count)]),
    )
    return Sequences(items, offsets, np.arange(len(items)), *names)


def all_for_training(*histories, num_items=None):
    sequences = sequences_of(*histories, num_items=num_items)
    none = np.zeros(0, np.int64)
    return Split(sequences, sequences.offsets[1:].copy(), none, none, "leave-one-out")


def weighted(split, weights):
    return dataclasses.replace(
        split, sequences=dataclasses.replace(split.sequences, weights=np.array(weights, np.float32))
    )


def one_pass(windows):
    """Returns (user, history, targets) of the first pass as tuples."""
    found = []
    for step in range(windows.steps_per_epoch):
        batch = windows.batch(tf.constant(step, tf.int64))
        for row in range(windows.batch_size):
            found.append(
                (
                    int(batch["user"][row]),
                    *(tuple(batch[key][row].numpy().tolist()) for key in ("history", "targets")),
                )
            )
    return found[: len(windows)]


HISTORIES = st.lists(
    st.lists(st.integers(1, 9), min_size=0, max_size=9), min_size=1, max_size=5
).filter(lambda hs: max(map(len, hs)) >= 2)
