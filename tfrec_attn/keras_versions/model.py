"""The base class of all models: `tfrs.Model` under Keras 2, `keras.Model` under Keras 3."""

from tfrec_attn.keras_versions import IS_KERAS_3

if IS_KERAS_3:
    from tfrec_attn.keras_versions.keras3_model import Model
else:
    from tfrec_attn.keras_versions.keras2_model import Model

__all__ = ["Model"]
