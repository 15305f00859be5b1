"""The contract of a model, and what all models share."""

from tfrec_attn.models.base.sequence_model import SequenceModel

__all__ = ["SequenceModel"]
