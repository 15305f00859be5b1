"""Imports of the packages that serving needs, without notes on the standard error output."""

import contextlib
import os
from collections.abc import Iterator

from tfrec_attn.errors import ConfigError, first_line
from tfrec_attn.runtime.process import capture_stderr


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Hides what imports write to the standard error output, such as notes of TensorFlow.

    Raises:
        ConfigError: If an import fails.
    """
    failed = None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with capture_stderr():
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
