"""Runs a SavedModel as TF Serving does: with TensorFlow's C++ loader, without its Python code."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from .checksums import SERVABLE_SUMS, damage

# The files of a version that are loaded.
_LOADED = ("saved_model.pb", "variables/", "assets/")


class ServableError(Exception):
    """A SavedModel or a run that cannot be used, described in one sentence."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a signature.

    Attributes:
        name: Name in the graph.
        dtype: Type of the elements.
        shape: Sizes, with None where any size is accepted.
    """

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...]


class Runner:
    """Calls the signatures of a SavedModel by name.

    >>> with Runner("servables/attrec") as runner:
    ...     response = runner.run("serving_default", user_id=["u1"], history=[["", "i3", "i7"]])

    Args:
        path: A version folder, or the model folder above it, whose newest version is loaded.

    Attributes:
        path: The version folder.
        signatures: Name -> (inputs, outputs), each a dict from argument name to `Tensor`.

    Raises:
        ServableError: If the folder holds no SavedModel, or TensorFlow cannot load it.
    """

    def __init__(self, path: str | Path):
        self.path = version_folder(path)
        if what := damage(self.path, SERVABLE_SUMS, _LOADED):
            raise self._not_loaded(what)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with _without_deprecation():
                meta = tf.compat.v1.saved_model.loader.load(
                    self._session, [tf.saved_model.SERVING], str(self.path)
                )
        except Exception as error:
            self._session.close()
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise self._not_loaded(lines[0].rstrip(".")) from None
        self.signatures = {
            name: (_tensors(signature.inputs), _tensors(signature.outputs))
            for name, signature in sorted(meta.signature_def.items())
            if not name.startswith("__")
        }
        self._callables = {}

    def run(self, signature: str, **arrays) -> dict[str, np.ndarray]:
        """Computes the outputs of a signature.

        Args:
            signature: Its name.
            **arrays: All of its inputs, as arrays or nested lists.

        Returns:
            Output name -> array. Strings are bytes.

        Raises:
            ServableError: If the signature or an input is unknown, or an input is missing.
            tf.errors.OpError: If TensorFlow rejects the content of an input.
        """
        function, inputs, outputs = self._callable(signature)
        if arrays.keys() != inputs.keys():
            raise ServableError(
                f"Signature {signature} takes {', '.join(inputs)}, "
                f"but was given {', '.join(arrays) or 'nothing'}."
            )
        found = function(*(np.asarray(arrays[name], dtype) for name, dtype in inputs.items()))
        return dict(zip(outputs, found, strict=True))

    def close(self) -> None:
        """Releases the memory."""
        self._callables = {}
        self._session.close()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _not_loaded(self, reason: str) -> ServableError:
        return ServableError(
            f"{self.path} cannot be loaded as a SavedModel ({reason}); export it again."
        )

    def _callable(self, signature):
        if signature not in self._callables:
            if signature not in self.signatures:
                raise ServableError(
                    f"{self.path} has no signature {signature!r}; "
                    f"it has {', '.join(self.signatures) or 'none'}."
                )
            inputs, outputs = self.signatures[signature]
            function = self._session.make_callable(
                [tensor.name for tensor in outputs.values()],
                feed_list=[tensor.name for tensor in inputs.values()],
            )
            dtypes = {name: tensor.dtype.as_numpy_dtype for name, tensor in inputs.items()}
            self._callables[signature] = function, dtypes, tuple(outputs)
        return self._callables[signature]


def version_folder(path: str | Path) -> Path:
    """Returns the folder itself if it holds a SavedModel, else its newest version.

    Raises:
        ServableError: If there is none.
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
            f"{path} is no SavedModel: {why}; "
            "give a folder that python -m tfrec_attn.export has written."
        )
    return max(versions, key=lambda child: int(child.name))


def _is_version(path: Path) -> bool:
    return path.name.isascii() and path.name.isdecimal() and (path / "saved_model.pb").is_file()


def _tensors(infos) -> dict[str, Tensor]:
    return {
        name: Tensor(
            info.name,
            tf.as_dtype(info.dtype),
            tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim),
        )
        for name, info in sorted(infos.items())
    }


@contextlib.contextmanager
def _without_deprecation() -> Iterator[None]:
    """Suppresses the deprecation warning that TensorFlow logs about its own loader."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
