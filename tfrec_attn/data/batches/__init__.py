"""Batches of training examples and of held-out events as `tf.data` datasets."""

from tfrec_attn.data.batches.positions import MaskedItems, NextItems
from tfrec_attn.data.batches.windows import HeldOut, Windows

__all__ = ["HeldOut", "MaskedItems", "NextItems", "Windows"]
