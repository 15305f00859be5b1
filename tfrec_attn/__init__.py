"""Sequential recommenders with self-attention on TensorFlow."""

import os
import sys

__version__ = "0.1.0"

# tensorflow-recommenders needs Keras 2 (tf_keras). A "0" that the user has set is kept, because
# tfrec_attn.layers, losses and metrics work under Keras 3 too.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

if os.environ["TF_USE_LEGACY_KERAS"] in ("1", "true", "True") and "tensorflow" in sys.modules:
    _keras_version = getattr(sys.modules["tensorflow"].keras, "__version__", "2")
    if _keras_version.startswith("3"):
        raise ImportError(
            "tfrec_attn needs Keras 2 (tf_keras) but TensorFlow was imported before it and chose "
            f"Keras {_keras_version}: import tfrec_attn first, or set TF_USE_LEGACY_KERAS=1 before "
            "importing TensorFlow."
        )
