"""The contract of a model, and what every model gets from it."""

from tfrec_attn.models.base.sequence_model import SequenceModel

__all__ = ["SequenceModel"]
