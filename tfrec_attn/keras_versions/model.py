"""The base class of all models: `tfrs.Model` under Keras 2, `keras.Model` under Keras 3."""

import tensorflow as tf

if tf.keras.__version__.startswith("3"):
    from tfrec_attn.keras_versions.keras3_model import Model
else:
    from tfrec_attn.keras_versions.keras2_model import Model

__all__ = ["Model"]
