"""Losses of scores, of sampled items and of the whole catalogue; `LOSSES` lists them by name."""

from tfrec_attn.losses.binary import bce, gbce
from tfrec_attn.losses.maximal import bpr_max, top1_max
from tfrec_attn.losses.pairwise import bpr, hinge, warp
from tfrec_attn.losses.sampled_softmax import sampled_softmax
from tfrec_attn.losses.softmax import softmax
from tfrec_attn.losses.table import BATCHES, LOSSES, Loss, as_loss

__all__ = [
    "BATCHES",
    "LOSSES",
    "Loss",
    "as_loss",
    "bce",
    "bpr",
    "bpr_max",
    "gbce",
    "hinge",
    "sampled_softmax",
    "softmax",
    "top1_max",
    "warp",
]
