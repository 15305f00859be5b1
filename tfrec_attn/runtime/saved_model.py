"""Loads SavedModels as TF Serving does: with TensorFlow's C++ loader, without their Python code."""

import dataclasses
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_attn.files.checksums import SERVABLE_SUMS, first_damage

# What TF Serving reads of a version.
LOADED = ("saved_model.pb", "variables/*", "assets/*")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a signature.

    Attributes:
        dtype: Type of the elements.
        shape: Sizes, with None where any size is accepted; None for any rank.
    """

    dtype: tf.DType
    shape: tuple[int | None, ...] | None


def load(folder: Path, session: tf.compat.v1.Session) -> dict[str, Any]:
    """Loads the SavedModel of a version into a session, and returns its SignatureDefs by name.

    The session is closed if that fails.

    Raises:
        ValueError: If a file is not what the export wrote: TensorFlow reads wrong numbers from some
            damaged files without an error.
        Exception: Those of TensorFlow.
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
    """Returns a function of the inputs of a SignatureDef to its outputs, both sorted by name.

    The inputs must be arrays of their types. The calling thread runs the operations, because
    handing the small ones to other threads takes longer than they do.
    """
    inputs, outputs = (
        [info.name for _, info in sorted(infos.items())]
        for infos in (signature.inputs, signature.outputs)
    )
    # `make_callable` looks up and checks each input again in every call, a fifth of the time of a
    # small model.
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
    """Returns what is in a folder of versions under a number, by number.

    Raises:
        OSError: If the folder cannot be read.
    """
    entries = [one for one in folder.iterdir() if one.name.isascii() and one.name.isdecimal()]
    return {int(entry.name): entry for entry in entries}
