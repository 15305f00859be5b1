"""Runs a SavedModel as TF Serving does: without Python code of the model."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfrec_attn.errors import ConfigError, first_line
from tfrec_attn.runtime import saved_model


class Runner:
    """Calls the signatures of a SavedModel by name.

    >>> with Runner("servables/attrec") as runner:
    ...     response = runner.run("serving_default", user_id=["u1"], history=[["", "i3", "i7"]])

    Args:
        path: Folder of a version, or the folder of the versions, of which the greatest is loaded.
        optimize: Whether TensorFlow optimizes the graph of a signature before its first call
            (default: True, as in TF Serving). It takes longer than some hundred calls of a small
            model.

    Attributes:
        path: Folder of the version.
        signatures: (inputs, outputs) of each signature, both dictionaries of `Tensor` by name.

    Raises:
        ConfigError: If there is no SavedModel, or TensorFlow cannot load it.
    """

    def __init__(self, path: str | Path, optimize: bool = True):
        self.path = version_folder(path)
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = not optimize
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            self._definitions = saved_model.load(self.path, self._session)
        except Exception as error:
            raise ConfigError(
                f"{self.path} cannot be loaded as a SavedModel ({first_line(error)}); "
                "export it again."
            ) from None
        self.signatures = {
            name: (
                saved_model.tensors_of(signature.inputs),
                saved_model.tensors_of(signature.outputs),
            )
            for name, signature in self._definitions.items()
            if not name.startswith("__")
        }
        self._callables, self._closed = {}, False

    def run(self, signature: str, **arrays) -> dict[str, np.ndarray]:
        """Computes the outputs of a signature.

        Args:
            signature: Name of the signature.
            **arrays: An array or nested list for each of its inputs.

        Returns:
            An array for each output. Texts are bytes.

        Raises:
            ConfigError: If the signature or an input is unknown, or an input is missing.
            RuntimeError: If the runner is closed.
            tf.errors.OpError: If TensorFlow rejects the content of an input.
        """
        if self._closed:
            raise RuntimeError(f"The runner of {self.path} is closed; make a new one.")
        if signature not in self.signatures:
            raise ConfigError(
                f"{self.path} has no signature {signature!r}; "
                f"it has {', '.join(self.signatures) or 'none'}."
            )
        inputs, outputs = self.signatures[signature]
        if arrays.keys() != inputs.keys():
            raise ConfigError(
                f"Signature {signature} takes {', '.join(inputs)}, "
                f"but was given {', '.join(arrays) or 'nothing'}."
            )
        if signature not in self._callables:
            self._callables[signature] = saved_model.function_of(
                self._session, self._definitions[signature]
            )
        values = [
            np.asarray(arrays[name], tensor.dtype.as_numpy_dtype) for name, tensor in inputs.items()
        ]
        return dict(zip(outputs, self._callables[signature](*values), strict=True))

    def close(self) -> None:
        """Closes the TensorFlow session, which releases its memory."""
        self._callables, self._closed = {}, True
        self._session.close()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def version_folder(path: str | Path) -> Path:
    """Returns the folder itself if it is a SavedModel, else its greatest version.

    Raises:
        ConfigError: If there is no SavedModel.
    """
    path = Path(path)
    if _is_loadable(path):
        return path
    found = saved_model.versions_in(path) if path.is_dir() else {}
    loadable = [number for number, folder in found.items() if _is_loadable(folder)]
    if not loadable:
        why = (
            "it holds neither saved_model.pb nor a version folder"
            if path.is_dir()
            else "there is no such folder"
        )
        raise ConfigError(
            f"{path} is not a SavedModel: {why}; "
            "give a folder that python -m tfrec_attn.export has written."
        )
    return found[max(loadable)]


def _is_loadable(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()
