"""All that differs between Keras 2 and Keras 3: `keras` is that of the process.

`keras2` and `keras3` have the same names, and `keras2_model` and `keras3_model` the same class.
"""

import tensorflow as tf

if tf.keras.__version__.startswith("3"):
    from tfrec_attn.keras_versions import keras3 as keras
else:
    from tfrec_attn.keras_versions import keras2 as keras

__all__ = ["keras"]
