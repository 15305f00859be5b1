"""Layers for models of one's own: each works under Keras 2 and Keras 3, in mixed precision, and with Keras masks."""

from tfrec_attn.layers.metric_scoring import MetricScoring
from tfrec_attn.layers.self_attention import SelfAttention
from tfrec_attn.layers.self_attentive_intent import SelfAttentiveIntent
from tfrec_attn.layers.time_signal import TimeSignal
from tfrec_attn.layers.unit_ball import UnitBall

__all__ = ["MetricScoring", "SelfAttention", "SelfAttentiveIntent", "TimeSignal", "UnitBall"]
