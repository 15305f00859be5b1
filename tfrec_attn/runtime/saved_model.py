"""Loads SavedModels as TF Serving does: with TensorFlow's session loader, without Python code."""

import dataclasses
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_attn.files.checksums import SERVABLE_SUMS, first_damage

# Files of a version that TF Serving reads.
LOADED = ("saved_model.pb", "variables/*", "assets/*")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a signature.

    Attributes:
        dtype: Type of the elements.
        shape: Size of each dimension, None for any size; None instead of a tuple for any rank.
    """

    dtype: tf.DType
    shape: tuple[int | None, ...] | None


def load(folder: Path, session: tf.compat.v1.Session) -> dict[str, Any]:
    """Loads the SavedModel of a version into a session, and returns its SignatureDefs by name.

    If this fails, the session is closed.

    Raises:
        ValueError: If a file does not have its checksum. TensorFlow reads wrong numbers from some
            damaged files without an error.
        Exception: Various errors of TensorFlow.
    """
    # TensorFlow logs a deprecation warning about its own loader.
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        if what := first_damage(folder, LOADED, SERVABLE_SUMS):
            raise ValueError(what)
        meta = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], str(folder))
    except Exception:
        session.close()
        raise
    finally:
        logger.setLevel(level)
    return dict(sorted(meta.signature_def.items()))


def function_of(session: tf.compat.v1.Session, signature: Any) -> Callable:
    """Returns a function from the inputs of a SignatureDef to its outputs, both sorted by name.

    The inputs must be arrays of the right types. The calling thread runs the operations, because
    small operations take less time than a hand-over to other threads.
    """
    inputs, outputs = (
        [info.name for _, info in sorted(infos.items())]
        for infos in (signature.inputs, signature.outputs)
    )
    # `make_callable` looks up and checks the inputs in every call, which takes a fifth of the time
    # of a small model.
    of_session = importlib.import_module(tf.compat.v1.ConfigProto.__module__)
    options = of_session.CallableOptions(feed=inputs, fetch=outputs)
    options.run_options.inter_op_thread_pool = -1
    return session._make_callable_from_options(options)


def tensors_of(infos: Any) -> dict[str, Tensor]:
    """Returns the inputs or outputs of a SignatureDef, sorted by name."""
    return {
        name: Tensor(
            tf.as_dtype(info.dtype),
            None
            if info.tensor_shape.unknown_rank
            else tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim),
        )
        for name, info in sorted(infos.items())
    }


def versions_in(folder: Path) -> dict[int, Path]:
    """Returns the entries of a folder whose names are numbers, by number.

    Raises:
        OSError: If the folder cannot be read.
    """
    entries = [one for one in folder.iterdir() if one.name.isascii() and one.name.isdecimal()]
    return {int(entry.name): entry for entry in entries}
