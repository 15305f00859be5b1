"""Converts an encoder to ONNX or LiteRT. Each format needs the extra of the same name."""

import logging
import re
import tempfile
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import ConfigError, first_line
from tfrec_attn.models.base import SequenceModel
from tfrec_attn.runtime.process import capture_stderr

_OPSET = 18
# A file of either format must be smaller than 2 GB.
_MOST_BYTES = 2_000_000_000


class Encoder(tf.Module):
    """The part of a model that computes queries from item and user numbers.

    Inputs are `history` int32 [B, L], items 1..N with the latest last and 0 for padding on the
    left, and, if the model uses users, `user` int32 [B], 0 if unknown. Outputs are `query` float32
    [B, D'] and, with a prior, `prior_items` int32 [B, P], 0 for padding, and `prior_scores` float32
    [B, P]. These are added to the scores of the items.

    Args:
        model: A model as from `with_item_matrix`.
        batch: B. None (default): any.

    Attributes:
        specs: Specs of the inputs by name.
        function: `tf.function` from the inputs to the outputs.
    """

    def __init__(self, model: SequenceModel, batch: int | None = None):
        super().__init__(name="encoder")
        self.specs = {"history": tf.TensorSpec([batch, model.max_length], tf.int32, "history")}
        if model.uses_user:
            self.specs["user"] = tf.TensorSpec([batch], tf.int32, "user")

        def encode(history, user=None):
            # A model that does not use users may still read the batch size from them.
            user = tf.zeros_like(history[:, 0]) if user is None else user
            features = {"user": user, "history": history}
            outputs, prior = {"query": model.query_vectors(features)}, model.prior(features)
            if prior is not None:
                outputs["prior_items"], outputs["prior_scores"] = prior
            return outputs

        self.function = tf.function(
            encode, input_signature=list(self.specs.values()), autograph=False
        )
        self._variables = list(self.concrete().variables)

    def concrete(self):
        """Returns the concrete function of `function`."""
        return self.function.get_concrete_function()

    def bytes(self) -> int:
        """Returns the size of the weights in bytes."""
        return sum(one.dtype.size * one.shape.num_elements() for one in self._variables)


def convert(model: SequenceModel, form: str) -> bytes:
    """Converts the encoder of a model to the content of a file.

    Args:
        model: A model as from `with_item_matrix`.
        form: "onnx", for batches of any size, or "litert", for one row.

    Raises:
        ConfigError: If the converter does not support an operation of the model, or the weights are
            too large for a file.
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
    # tf2onnx logs unknown operations and goes on. The check below reports them.
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
    """Adds operations that tf2onnx does not convert, or converts differently."""
    import numpy as np
    import onnx
    from tf2onnx.handler import tf_op
    from tf2onnx.onnx_opset.tensor import ScatterND

    @tf_op("ScatterNd", onnx_op="ScatterND")
    class _Scatter:
        """Adds the values of equal indices. The handler of tf2onnx keeps one of them."""

        @classmethod
        def version_16(cls, ctx, node, **kwargs):
            ScatterND.version_11(ctx, node, **kwargs)
            node.set_attr("reduction", "add")

    @tf_op("UnsortedSegmentSum", onnx_op="ScatterND")
    class _SegmentSum:
        """Sums numbers by segment. The handler of tf2onnx makes a table of segments by numbers."""

        @classmethod
        def version_16(cls, ctx, node, **kwargs):
            values, segments, count = node.input
            axis = ctx.make_const(f"{node.name}_axis", np.array([-1], np.int64)).output[0]
            index = ctx.make_node("Unsqueeze", [segments, axis])
            first = ctx.make_const(f"{node.name}_first", np.array([0], np.int64)).output[0]
            shape = ctx.make_node("Unsqueeze", [count, first])
            zero = onnx.helper.make_tensor("value", ctx.get_dtype(values), [1], [0])
            zeros = ctx.make_node("ConstantOfShape", shape.output, attr={"value": zero})
            ctx.replace_inputs(node, [zeros.output[0], index.output[0], values])
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
        """ln(1 + x), for a prior of transitions."""

        @classmethod
        def version_9(cls, ctx, node, **kwargs):
            one = ctx.make_const(f"{node.name}_one", np.float32(1))
            total = ctx.make_node("Add", [node.input[0], one.output[0]])
            ctx.replace_inputs(node, [total.output[0]])


def _to_litert(encoder: Encoder, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(encoder, str(Path(folder)), {"serving_default": encoder.concrete()})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        with capture_stderr():
            try:
                return converter.convert()
            except Exception as error:
                # Raised in this block, the error would print the messages of the compiler.
                failure = error
    unknown = sorted(set(re.findall(r"'tf\.(\w+)' op", str(failure))))
    raise _refusal(name, "litert", unknown, first_line(failure))


def _refusal(name: str, form: str, operations: list[str], reason: str = "") -> ConfigError:
    what = ", ".join(operations) or f"it ({reason})"
    other = "litert" if form == "onnx" else "onnx"
    return ConfigError(
        f"{name} cannot be exported with --format {form}: the converter does not take {what}; "
        f"export a SavedModel, or try --format {other}."
    )
