"""Imports of the packages that serving needs, without notes on the standard error output."""

import contextlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator

from tfrec_attn.errors import ConfigError, first_line
from tfrec_attn.runtime.process import capture_stderr, collecting_no_garbage


@contextlib.contextmanager
def importing(stubs_alone: bool = False) -> Iterator[None]:
    """Hides what imports write to the standard error output, such as notes of TensorFlow.

    Args:
        stubs_alone: Whether the stubs of tensorflow-serving-api load the messages of TensorFlow
            that they need, and not TensorFlow itself, which takes some seconds and 300 MB.

    Raises:
        ConfigError: If an import fails.
    """
    failed = None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    messages = _messages_of_tensorflow() if stubs_alone else contextlib.nullcontext()
    with capture_stderr(), collecting_no_garbage(), messages:
        try:
            yield
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            failed = (
                f"The package {package} is not installed; "
                "get it with pip install 'tfrec-attn[serving]'."
            )
        except Exception as error:
            # Generated stubs fail in many ways with an incompatible protobuf or grpcio.
            failed = (
                "The stubs of tensorflow-serving-api do not load "
                f"({type(error).__name__}: {first_line(error)}); install a tensorflow-serving-api, "
                "protobuf and grpcio that go together, such as those in "
                "requirements/tensorflow-2.21.txt."
            )
    if failed:
        raise ConfigError(failed)


@contextlib.contextmanager
def _messages_of_tensorflow() -> Iterator[None]:
    """Makes `tensorflow` a package of the same modules whose import runs none of them."""
    spec = None if "tensorflow" in sys.modules else importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        yield
        return
    package = types.ModuleType("tensorflow")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = package
    try:
        yield
    finally:
        # Whoever imports TensorFlow later gets all of it.
        sys.modules.pop("tensorflow", None)
