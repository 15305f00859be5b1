"""Optimizers with fast sparse updates, learning-rate schedules, and operations on gradients."""

from tfrec_attn.keras_versions.variables import sum_repeated_rows
from tfrec_attn.optimizers.adagrad import Adagrad
from tfrec_attn.optimizers.adam import Adam
from tfrec_attn.optimizers.from_config import make_optimizer
from tfrec_attn.optimizers.gradients import add_gradients, clip_by_global_norm
from tfrec_attn.optimizers.lazy_adam import LazyAdam
from tfrec_attn.optimizers.schedules import SCHEDULES, WarmUp

__all__ = [
    "SCHEDULES",
    "Adagrad",
    "Adam",
    "LazyAdam",
    "WarmUp",
    "add_gradients",
    "clip_by_global_norm",
    "make_optimizer",
    "sum_repeated_rows",
]
