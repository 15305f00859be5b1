"""All that differs between Keras 2 and Keras 3.

`keras2` and `keras3` define the same names; `keras` is the module for the Keras of this process.
`keras2_model` and `keras3_model` define the same class.
"""

import tensorflow as tf

# The module of Keras 2 has no version.
IS_KERAS_3 = getattr(tf.keras, "__version__", "2").startswith("3")

if IS_KERAS_3:
    from tfrec_attn.keras_versions import keras3 as keras
else:
    from tfrec_attn.keras_versions import keras2 as keras

__all__ = ["IS_KERAS_3", "keras"]
