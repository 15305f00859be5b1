"""Converts an encoder to a file of ONNX or LiteRT; each needs its extra."""

import logging
import re
import tempfile
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import ConfigError, first_line
from tfrec_attn.models.base import SequenceModel
from tfrec_attn.runtime.process import capture_stderr

from .encoder import Encoder

_OPSET = 18
# Files of both formats are messages of less than 2 GB.
_MOST_BYTES = 2_000_000_000


def convert(model: SequenceModel, form: str) -> bytes:
    """Returns the encoder of a model as a file of "onnx", for any batch, or "litert", for one row.

    Raises:
        ConfigError: If the converter does not hold for the model.
    """
    encoder = Encoder(model, batch=1 if form == "litert" else None)
    if encoder.bytes() > _MOST_BYTES:
        raise ConfigError(
            f"The weights that make queries must have less than {_MOST_BYTES / 1e9:.0f} GB for "
            f"--format {form}, but have {encoder.bytes() / 1e9:.1f} GB; export a SavedModel, or "
            "train a model with fewer dimensions."
        )
    return (_to_onnx if form == "onnx" else _to_litert)(encoder, type(model).__name__)


def _to_onnx(encoder: Encoder, name: str) -> bytes:
    import onnx
    import tf2onnx

    _register_operations()
    # It logs what it does not know, and converts the rest.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    with capture_stderr():
        converted, _ = tf2onnx.convert.from_function(
            encoder.function, list(encoder.specs.values()), opset=_OPSET
        )
    unknown = {node.op_type for node in converted.graph.node if not onnx.defs.has(node.op_type)}
    if unknown:
        raise _refusal(name, "onnx", sorted(unknown))
    return converted.SerializeToString()


def _register_operations() -> None:
    """Adds what tf2onnx lacks, or converts to something else."""
    import numpy as np
    from tf2onnx.handler import tf_op
    from tf2onnx.onnx_opset.tensor import ScatterND

    @tf_op("ScatterNd", onnx_op="ScatterND")
    class _Scatter:
        """The values of equal indices are added up, where tf2onnx keeps one of them."""

        @classmethod
        def version_16(cls, ctx, node, **kwargs):
            ScatterND.version_11(ctx, node, **kwargs)
            node.set_attr("reduction", "add")

    @tf_op("Erfc", onnx_op="Sub")
    class _Erfc:
        """1 - erf(x), for the exact GELU."""

        @classmethod
        def version_9(cls, ctx, node, **kwargs):
            erf = ctx.make_node("Erf", [node.input[0]])
            one = ctx.make_const(f"{node.name}_one", np.float32(1))
            ctx.replace_inputs(node, [one.output[0], erf.output[0]])

    @tf_op("Log1p", onnx_op="Log")
    class _Log1p:
        """log(1 + x), for the prior of item transitions."""

        @classmethod
        def version_9(cls, ctx, node, **kwargs):
            one = ctx.make_const(f"{node.name}_one", np.float32(1))
            total = ctx.make_node("Add", [node.input[0], one.output[0]])
            ctx.replace_inputs(node, [total.output[0]])


def _to_litert(encoder: Encoder, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(encoder, str(Path(folder)), {"serving_default": encoder.concrete()})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        try:
            # An exception would print the messages of the compiler.
            return _quietly(converter.convert)
        except Exception as error:
            unknown = sorted(set(re.findall(r"'tf\.(\w+)' op", str(error))))
            raise _refusal(name, "litert", unknown, first_line(error)) from None


def _quietly(function):
    """Calls a function without its messages on stderr, also where it fails."""
    with capture_stderr():
        try:
            result, failure = function(), None
        except Exception as error:
            result, failure = None, error
    if failure is not None:
        raise failure
    return result


def _refusal(name: str, form: str, operations: list[str], reason: str = "") -> ConfigError:
    what = ", ".join(operations) or f"it ({reason})"
    other = "litert" if form == "onnx" else "onnx"
    return ConfigError(
        f"{name} cannot be exported with --format {form}: the converter does not take {what}; "
        f"export a SavedModel, or try --format {other}."
    )
