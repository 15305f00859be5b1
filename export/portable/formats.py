"""The formats of a version, and the packages that each needs."""

import importlib.util
from pathlib import Path

from tfrec_attn.errors import ConfigError

SAVED_MODEL = "savedmodel"
# The file that shows the format of a version.
FILES = {SAVED_MODEL: "saved_model.pb", "onnx": "model.onnx", "litert": "model.tflite"}
# Packages that convert and run a format. The extra has the name of the format.
_PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}


def check_packages(form: str) -> None:
    """Checks that the packages of a format are installed.

    Raises:
        ConfigError: If a package is missing.
    """
    missing = [one for one in _PACKAGES.get(form, ()) if importlib.util.find_spec(one) is None]
    if missing:
        raise ConfigError(
            f"--format {form} needs {' and '.join(missing)}; "
            f"get it with pip install 'tfrec-attn[{form}]'."
        )


def check_versions(base: Path, form: str) -> None:
    """Checks that all versions in a folder have the same format.

    Raises:
        ConfigError: If a version has another format than `form`.
    """
    for other, file in FILES.items():
        found = next(base.glob(f"[1-9]*/{file}"), None)
        if other != form and found is not None:
            raise ConfigError(
                f"{base} must have versions in the format {form} only, but {found.parent.name} is "
                f"{other}; name another folder."
            )
