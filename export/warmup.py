"""Requests that TF Serving answers before it takes a version into service, so that no client waits for the first of its kind."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export.replay import padded, read_events
from export.session import Session

FILE = "assets.extra/tf_serving_warmup_requests"
LENGTHS = (1, 5, 20, 50)
_BATCH = 8


def write_warmup(folder: str | Path, run_folder: str | Path, *, name: str, max_length: int, max_k: int) -> int:
    """Writes the warm-up file of a SavedModel, after it has answered every request in it: one that fails would fail the load.

    The requests are made of histories of the run's test events in max_length + 1 columns, for every signature: histories of 1, 5, 20, 50
    and max_length items, a batch of several, a user of whom nothing is known, and where the signature has them several k and an allow
    list.

    Args:
      folder: of the SavedModel; the file goes into its assets.extra.
      run_folder: with test.parquet.
      name: of the model in TF Serving.
      max_length: latest items of a history that the model uses.
      max_k: most items that an answer has.

    Returns: number of requests, at most 60.

    Errors: ServableError when folder or run cannot be used; `tf.errors.OpError` when the model fails to answer.
    """
    events = read_events(run_folder).head(4096).rows()
    records = []
    with Session(folder) as session:
        for signature, (inputs, _) in session.signatures.items():
            for request in _requests(inputs, events, max_length, max_k):
                arrays = {key: np.asarray(request[key], tensor.dtype.as_numpy_dtype) for key, tensor in inputs.items()}
                session.run(signature, **arrays)
                records.append(_record(name, signature, arrays))
    path = Path(folder) / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    return len(records)


def _requests(inputs: Sequence[str], events: list[tuple], max_length: int, max_k: int) -> Iterator[dict]:
    """Values of all inputs that a signature may have, a dictionary a request."""
    columns, targets = max_length + 1, [target for _, _, target in events[:_BATCH]]
    lengths = sorted({min(length, max_length) for length in (*LENGTHS, max_length)}) if "history" in inputs else [1]
    cutoffs = sorted({min(k, max_k) for k in (1, 10, max_k)}) if "k" in inputs else [1]
    for length in lengths:
        for k in cutoffs:
            yield _request([_with_history(events, length)], columns, targets, k)
    several = [(user, history[-max_length:], target) for user, history, target in events[:_BATCH]]
    yield _request(several, columns, targets, max_k)
    yield _request([("", [], targets[0])], columns, targets, max_k)
    if "allow" in inputs:
        yield {**_request(several[:1], columns, targets, max_k), "allow": [targets]}


def _with_history(events: list[tuple], length: int) -> tuple:
    """The first event with so many items before it, else that with most, and of its history the latest `length` items."""
    user, history, target = next((event for event in events if len(event[1]) >= length), None) or max(events, key=lambda one: len(one[1]))
    return user, history[-length:], target


def _request(events: list[tuple], columns: int, targets: list[str], k: int) -> dict:
    users, histories, items = zip(*events, strict=True)
    return {
        "user_id": users,
        "history": padded(histories, columns),
        "item": items,
        "candidates": [targets] * len(events),
        "exclude": [[item] for item in items],
        "allow": [[""]] * len(events),
        "k": [k] * len(events),
    }


def _record(name: str, signature: str, arrays: dict[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, array in arrays.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    return log
