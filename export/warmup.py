"""Writes warm-up requests, which TF Serving runs before it puts a version into service."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfrec_attn.runtime.runner import Runner
from tfrec_attn.runtime.saved_model import Tensor

FILE = "assets.extra/tf_serving_warmup_requests"
LENGTHS = (1, 5, 20, 50)
_BATCH = 8


def write_warmup(folder: str | Path, *, name: str, max_length: int, max_k: int) -> int:
    """Writes the warm-up file of a SavedModel.

    The requests name no user, and their histories are the most popular items. For each signature
    there are histories of 1, 5, 20, 50 and max_length items, in max_length + 1 columns or joined; a
    batch of several histories; an empty history; and, if the signature has these inputs, several k
    and an allow list. All requests are run before they are written, because TF Serving cannot load
    a version with a request that fails.

    Args:
        folder: The SavedModel. The file goes into its assets.extra.
        name: Name of the model in TF Serving.
        max_length: L, the number of latest events that the model uses.
        max_k: Most items of a response.

    Returns:
        Number of requests, at most 150.

    Raises:
        ConfigError: If the folder cannot be used.
        tf.errors.OpError: If the model fails.
    """
    records = []
    with Runner(folder, optimize=False) as runner:
        items, separator = popular_items(runner, max_k)
        for signature, (inputs, _) in runner.signatures.items():
            for request in _requests(inputs, items, max_length, max_k):
                arrays = {
                    key: _array(request[key], tensor, separator) for key, tensor in inputs.items()
                }
                runner.run(signature, **arrays)
                records.append(_record(name, signature, arrays))
    path = Path(folder) / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    return len(records)


def popular_items(runner: Runner, count: int) -> tuple[list[str], str]:
    """Returns the most popular items of a servable, and the separator that joins ids.

    The requests that a servable contains consist of these items, never of users or histories of the
    log.

    Args:
        runner: Runner of the servable.
        count: Most items to return. There are fewer if the servable returns fewer.
    """
    empty = {name: [""] for name in ("user_id", "history", "exclude", "allow")}
    response = runner.run("recommend_joined", **empty, k=[count])
    items = [one.decode() for one in response["items"][0] if one]
    return items, response["separator"][0].decode()


def _requests(
    inputs: Sequence[str], items: list[str], max_length: int, max_k: int
) -> Iterator[dict]:
    """Yields requests with all `INPUTS`, where a list of ids is a list."""
    lengths = cutoffs = [1]
    if "history" in inputs:
        lengths = sorted({min(length, max_length) for length in (*LENGTHS, max_length)})
    if "k" in inputs:
        cutoffs = sorted({min(k, max_k) for k in (1, 10, max_k)})
    for length in lengths:
        for k in cutoffs:
            yield _request([_repeated(items, length)], items, max_length, k)
    several = [_repeated(items, 1 + row * max_length // _BATCH) for row in range(_BATCH)]
    yield _request(several, items, max_length, max_k)
    yield _request([[]], items, max_length, max_k)
    if "allow" in inputs:
        yield {**_request(several[:1], items, max_length, max_k), "allow": [items[:_BATCH]]}


def _repeated(items: list[str], length: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(items), length))


def _request(histories: list[list[str]], items: list[str], max_length: int, k: int) -> dict:
    rows = len(histories)
    return {
        "user_id": [""] * rows,
        "history": [[""] * (max_length + 1 - len(history)) + history for history in histories],
        "item": _repeated(items, rows),
        "candidates": [items[:_BATCH]] * rows,
        "exclude": [[item] for item in _repeated(items, rows)],
        "allow": [[""]] * rows,
        "k": [k] * rows,
        "by": [""] * rows,
        "allow_category": [[""]] * rows,
        "per_category": [1] * rows,
        "popularity_penalty": [0.1] * rows,
        "diversity": [0.5] * rows,
    }


def _array(values: list, tensor: Tensor, separator: str) -> np.ndarray:
    """Converts an input for a signature. A joined list is one text a row, without padding."""
    if len(tensor.shape) == 1 and isinstance(values[0], list):
        values = [separator.join(one for one in row if one) for row in values]
    return np.asarray(values, tensor.dtype.as_numpy_dtype)


def _record(
    name: str, signature: str, arrays: dict[str, np.ndarray]
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, array in arrays.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    return log
