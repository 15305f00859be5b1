"""Sequential recommenders with self-attention on TensorFlow."""

import os
import sys

__version__ = "0.1.0"

# Keep the Keras that the process has chosen, by the variable or by importing Keras 3.
_keras_3 = getattr(sys.modules.get("keras"), "__version__", "").startswith("3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "0" if _keras_3 else "1")

if "tensorflow" in sys.modules:
    _wanted = "2" if os.environ["TF_USE_LEGACY_KERAS"] in ("1", "true", "True") else "3"
    _found = getattr(sys.modules["tensorflow"].keras, "__version__", "2")
    if not _found.startswith(_wanted):
        raise ImportError(
            f"TF_USE_LEGACY_KERAS={os.environ['TF_USE_LEGACY_KERAS']} chooses Keras {_wanted}, but "
            f"TensorFlow was imported before with Keras {_found}: import tfrec_attn first, or set "
            "the variable before TensorFlow is imported."
        )
