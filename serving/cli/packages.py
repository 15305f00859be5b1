"""Imports the packages that serving needs, without their messages on standard error."""

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
    """Hides what imports in the block write to standard error, such as logs of TensorFlow.

    Args:
        stubs_alone: Whether the stubs of tensorflow-serving-api import only the protocol messages
            of TensorFlow (default: False). TensorFlow itself takes some seconds and 300 MB.

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
            # With an incompatible protobuf or grpcio, the generated stubs raise various exceptions.
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
    """Replaces `tensorflow` by an empty package with the same submodules."""
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
        # A later import gets TensorFlow itself.
        sys.modules.pop("tensorflow", None)
