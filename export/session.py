"""A SavedModel as TF Serving runs it: through the C++ loader and a session, without the Python code
that made it.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from .checksums import SERVABLE_SUMS, damage

# What a session reads of a version.
_READ = ("saved_model.pb", "variables/", "assets/")


class ServableError(Exception):
    """A SavedModel or a run that cannot be used, in one sentence."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What a signature says of one input or output: `name` in the graph, `dtype`, and `shape` with
    None where any size goes.
    """

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...]


class Session:
    """The signatures of a SavedModel, callable by name.

    >>> with Session("servables/attrec") as session:
    ...     answer = session.run("serving_default", user_id=["u1"], history=[["", "i3", "i7"]])

    Args:
      path: a version folder, or the model folder above it, whose newest version is taken.

    Attributes:
      path: the version folder.
      signatures: name -> (inputs, outputs), each argument name -> `Tensor`.

    Errors: ServableError when the folder holds no SavedModel or one that TensorFlow cannot load,
    and when a signature or an input is unknown or missing; what TensorFlow finds wrong with the
    values is its own `tf.errors.OpError`.
    """

    def __init__(self, path: str | Path):
        self.path = version_folder(path)
        if what := damage(self.path, SERVABLE_SUMS, _READ):
            raise ServableError(
                f"{self.path} cannot be loaded as a SavedModel ({what}); export it again."
            )
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with _without_deprecation():
                meta = tf.compat.v1.saved_model.loader.load(
                    self._session, [tf.saved_model.SERVING], str(self.path)
                )
        except Exception as error:
            self._session.close()
            raise ServableError(
                f"{self.path} cannot be loaded as a SavedModel ({_first_line(error)}); export it again."
            ) from None
        self.signatures = {
            name: (_tensors(signature.inputs), _tensors(signature.outputs))
            for name, signature in sorted(meta.signature_def.items())
            if not name.startswith("__")
        }
        self._callables = {}

    def run(self, signature: str, **arrays) -> dict[str, np.ndarray]:
        """Outputs of a signature for all of its inputs, which may be arrays or nested lists; texts
        come back as bytes.
        """
        function, inputs, outputs = self._callable(signature)
        if arrays.keys() != inputs.keys():
            raise ServableError(
                f"Signature {signature} takes {', '.join(inputs)}, but was given {', '.join(arrays) or 'nothing'}."
            )
        return dict(
            zip(
                outputs,
                function(*(np.asarray(arrays[name], dtype) for name, dtype in inputs.items())),
                strict=True,
            )
        )

    def close(self) -> None:
        """Gives the memory back."""
        self._callables = {}
        self._session.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _callable(self, signature):
        if signature not in self._callables:
            if signature not in self.signatures:
                raise ServableError(
                    f"{self.path} has no signature {signature!r}; it has {', '.join(self.signatures) or 'none'}."
                )
            inputs, outputs = self.signatures[signature]
            names = (
                [tensor.name for tensor in inputs.values()],
                [tensor.name for tensor in outputs.values()],
            )
            function = self._session.make_callable(names[1], feed_list=names[0])
            dtypes = {name: tensor.dtype.as_numpy_dtype for name, tensor in inputs.items()}
            self._callables[signature] = function, dtypes, tuple(outputs)
        return self._callables[signature]


def version_folder(path: str | Path) -> Path:
    """The folder itself where it holds a SavedModel, else its newest version.

    Errors: ServableError when there is none.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return path
    versions = [child for child in path.iterdir() if _is_version(child)] if path.is_dir() else []
    if not versions:
        why = (
            "it holds neither saved_model.pb nor a version folder"
            if path.is_dir()
            else "there is no such folder"
        )
        raise ServableError(
            f"{path} is no SavedModel: {why}; give a folder that python -m tfrec_attn.export has written."
        )
    return max(versions, key=lambda child: int(child.name))


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdecimal() and (path / "saved_model.pb").is_file()


def _tensors(infos) -> dict[str, Tensor]:
    return {
        name: Tensor(info.name, tf.as_dtype(info.dtype), _shape(info.tensor_shape))
        for name, info in sorted(infos.items())
    }


def _shape(proto) -> tuple[int | None, ...]:
    return tuple(None if dim.size < 0 else dim.size for dim in proto.dim)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


@contextlib.contextmanager
def _without_deprecation() -> Iterator[None]:
    """Keeps back the note that TensorFlow logs about its own loader."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
