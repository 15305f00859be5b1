"""Batches of training examples and of held-out events as `tf.data` datasets."""

from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.data.batches.masked_items import MaskedItems
from tfrec_attn.data.batches.next_items import NextItems
from tfrec_attn.data.batches.windows import Windows

__all__ = ["HeldOut", "MaskedItems", "NextItems", "Windows"]
