"""The packages that serving takes: those of the extra, and the stubs of tensorflow-serving-api."""

import contextlib
from collections.abc import Iterator

from .quiet import held_back_stderr


class PackageError(ValueError):
    """A package that is missing, or does not load, in one sentence."""


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Holds imports back from the standard error output, where TensorFlow's C++ side writes notes.

    Raises:
        PackageError: If one of them fails.
    """
    failed = None
    with held_back_stderr():
        try:
            yield
        except ModuleNotFoundError as error:
            failed = f"The package {(error.name or '').partition('.')[0]} is not installed; get it with pip install 'tfrec-attn[serving]'."
        except Exception as error:
            # Generated stubs fail in many ways where protobuf or grpcio is of another age.
            what = str(error).partition("\n")[0].rstrip(".") or "it says nothing"
            failed = (
                f"The stubs of tensorflow-serving-api do not load ({type(error).__name__}: {what}); "
                "install a tensorflow-serving-api, protobuf and grpcio that go together, such as those in requirements/tensorflow-2.21.txt."
            )
    if failed:
        raise PackageError(failed)
