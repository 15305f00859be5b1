"""Imports of the packages that serving needs, without notes on the standard error output."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


class PackageError(ValueError):
    """A package that is missing, or does not load."""


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Hides what imports write to the standard error output, such as notes of TensorFlow.

    Raises:
        PackageError: If an import fails.
    """
    failed = None
    with _hidden_stderr():
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
            reason = str(error).partition("\n")[0].rstrip(".") or "it says nothing"
            failed = (
                "The stubs of tensorflow-serving-api do not load "
                f"({type(error).__name__}: {reason}); install a tensorflow-serving-api, protobuf "
                "and grpcio that go together, such as those in requirements/tensorflow-2.21.txt."
            )
    if failed:
        raise PackageError(failed)


@contextlib.contextmanager
def _hidden_stderr() -> Iterator[None]:
    """Holds back the standard error output, also of C++, and shows it if an exception is raised."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
