"""Requests that TF Serving answers before it takes a version into service, so that no client waits
for the first of its kind.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from .example import popular_items
from .session import Session, Tensor

FILE = "assets.extra/tf_serving_warmup_requests"
LENGTHS = (1, 5, 20, 50)
_BATCH = 8


def write_warmup(folder: str | Path, *, name: str, max_length: int, max_k: int) -> int:
    """Writes the warm-up file of a SavedModel, after it has answered every request in it: one that
    fails would fail the load.

    The requests are of nobody, with histories of the most popular items: histories of 1, 5, 20, 50
    and max_length items, in max_length + 1 columns or joined, a batch of several, a history of
    which nothing is known, and where the signature has them several k and an allow list.

    Args:
      folder: of the SavedModel; the file goes into its assets.extra.
      name: of the model in TF Serving.
      max_length: latest items of a history that the model uses.
      max_k: most items that an answer has.

    Returns:
      Number of requests, at most 120.

    Raises:
      ServableError: The folder cannot be used.
      tf.errors.OpError: The model fails to answer.
    """
    records = []
    with Session(folder) as session:
        items, separator = popular_items(session, max_k)
        for signature, (inputs, _) in session.signatures.items():
            for request in _requests(inputs, items, max_length, max_k):
                arrays = {
                    key: _array(request[key], tensor, separator) for key, tensor in inputs.items()
                }
                session.run(signature, **arrays)
                records.append(_record(name, signature, arrays))
    path = Path(folder) / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    return len(records)


def _requests(
    inputs: Sequence[str], items: list[str], max_length: int, max_k: int
) -> Iterator[dict]:
    """Values of all inputs that a signature may have, lists of ids as lists, a dictionary a
    request.
    """
    lengths = (
        sorted({min(length, max_length) for length in (*LENGTHS, max_length)})
        if "history" in inputs
        else [1]
    )
    cutoffs = sorted({min(k, max_k) for k in (1, 10, max_k)}) if "k" in inputs else [1]
    for length in lengths:
        for k in cutoffs:
            yield _request([_history(items, length)], items, max_length, k)
    several = [_history(items, 1 + row * max_length // _BATCH) for row in range(_BATCH)]
    yield _request(several, items, max_length, max_k)
    yield _request([[]], items, max_length, max_k)
    if "allow" in inputs:
        yield {**_request(several[:1], items, max_length, max_k), "allow": [items[:_BATCH]]}


def _history(items: list[str], length: int) -> list[str]:
    """So many items, from the first again where there are fewer."""
    return list(itertools.islice(itertools.cycle(items), length))


def _request(histories: list[list[str]], items: list[str], max_length: int, k: int) -> dict:
    rows = len(histories)
    return {
        "user_id": [""] * rows,
        "history": [[""] * (max_length + 1 - len(history)) + history for history in histories],
        "item": _history(items, rows),
        "candidates": [items[:_BATCH]] * rows,
        "exclude": [[item] for item in _history(items, rows)],
        "allow": [[""]] * rows,
        "k": [k] * rows,
    }


def _array(values: list, tensor: Tensor, separator: str) -> np.ndarray:
    """Values as an input has them; lists are joined, without padding, where it takes one text a
    row.
    """
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
