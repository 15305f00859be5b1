"""Runs requests that arrive at the same time in batches, as TF Serving does."""

import contextlib
import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import grpc
import numpy as np

from ..protocol.statuses import StatusError, invalid

Arrays = Mapping[str, np.ndarray]
# Most elements of a padded input. It separates requests of very different lengths.
_MAX_PADDED = 1 << 18


@dataclasses.dataclass(frozen=True)
class BatchOptions:
    """Options of a batcher, with the names that TF Serving uses.

    Attributes:
        max_batch_size: Most rows of a batch and of a request (default: 32).
        batch_timeout: Seconds that a batch waits for more rows (default: 0).
        max_enqueued_batches: Number of full batches that can wait (default: 10). Further requests
            are rejected.
        pad_variable_length_inputs: Whether requests of different lengths share a batch (default:
            False). If True, the first element of a request pads its rows on the right; the model
            reads it as the newest event unless it is "". If False, these requests run in different
            batches, whereas TF Serving fails their batch with FAILED_PRECONDITION.
    """

    max_batch_size: int = 32
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    pad_variable_length_inputs: bool = False


class Batcher:
    """Runs requests to a signature in batches, on the threads of the requests.

    If no batch runs, a request starts one at once. Otherwise it waits. When a batch ends, the first
    waiting request leads the next batch: its thread runs as many waiting requests as fit. If a
    batch fails, its requests run again one by one, so that an invalid request fails alone.

    Args:
        run: Function from inputs to outputs. The first dimension of all arrays is the batch.
        options: Sizes and limits.
        observe: Function that gets the number of rows of each batch (default: none).

    Attributes:
        queued: Number of waiting rows.
    """

    def __init__(
        self,
        run: Callable[[Arrays], dict],
        options: BatchOptions,
        observe: Callable[[int], None] = lambda rows: None,
    ):
        self._run, self._options, self._observe = run, options, observe
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._running = False
        self._changed = threading.Condition(self._lock)
        self.queued = 0

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Returns the outputs of one request.

        Raises:
            StatusError: INVALID_ARGUMENT if the inputs have no common first dimension or too many
                rows, UNAVAILABLE if the queue is full. Errors of `run` for this request are raised
                too.
        """
        request = _Request(inputs, self._rows(inputs))
        with self._lock:
            if self._running:
                self._enqueue(request)
            else:
                self._running = request.leads = True
        if not request.leads:
            request.wake.acquire()
        if request.leads:
            self._lead(request)
        if request.error is not None:
            raise request.error
        return request.outputs

    def _rows(self, inputs: Arrays) -> int:
        rows = -1
        for name, array in inputs.items():
            if not array.ndim:
                raise invalid(
                    "Batching Run() input tensors must have at least one dimension, "
                    f"but {name} is a scalar."
                )
            if rows not in (-1, len(array)):
                came = ", ".join(f"{len(inputs[one])} rows of {one}" for one in sorted(inputs))
                raise invalid(
                    "Batching Run() input tensors must have equal 0th-dimension size, "
                    f"but there are {came}."
                )
            rows = len(array)
        limit = self._options.max_batch_size
        if rows > limit:
            raise invalid(
                f"Task size {rows} is larger than maximum input batch size {limit}; "
                "send fewer rows a request."
            )
        return max(rows, 0)

    def _enqueue(self, request: "_Request") -> None:
        limit = self._options.max_enqueued_batches * self._options.max_batch_size
        if self.queued + request.rows > limit:
            message = (
                "The batch scheduling queue to which this task was submitted is full; "
                f"{self.queued} of {limit} rows wait, try later."
            )
            raise StatusError(grpc.StatusCode.UNAVAILABLE, message)
        self._waiting.append(request)
        self.queued += request.rows
        if self._options.batch_timeout:
            self._changed.notify()

    def _lead(self, request: "_Request") -> None:
        batch = [request]
        try:
            if self._options.batch_timeout:
                self._wait_for_more(request)
            if self._waiting:
                batch = self._collect(request)
            self._answer(batch)
        finally:
            self._hand_over()
            for other in batch[1:]:
                other.wake.release()

    def _wait_for_more(self, request: "_Request") -> None:
        until = request.arrived + self._options.batch_timeout
        with self._lock:
            while (
                request.rows + self.queued < self._options.max_batch_size
                and (left := until - time.monotonic()) > 0
            ):
                self._changed.wait(left)

    def _collect(self, request: "_Request") -> list["_Request"]:
        """Takes the waiting requests that fit with the request from the queue: the batch."""
        batch, rows, shapes, left = [request], request.rows, request.shapes(), deque()
        with self._lock:
            for other in self._waiting:
                common = self._common(shapes, other, rows + other.rows, request.is_empty())
                if common is None:
                    left.append(other)
                else:
                    batch.append(other)
                    rows, shapes = rows + other.rows, common
            self._waiting, self.queued = left, sum(other.rows for other in left)
        return batch

    def _common(
        self, shapes: Mapping[str, tuple], other: "_Request", rows: int, is_empty: bool
    ) -> Mapping[str, tuple] | None:
        """Row shapes of a batch with another request; None if it does not fit or pads too much."""
        if rows > self._options.max_batch_size:
            return None
        others = other.shapes()
        if others == shapes:
            return shapes
        # A request without elements has no first element to pad with.
        if not self._options.pad_variable_length_inputs or is_empty or other.is_empty():
            return None
        if any(len(others[name]) != len(own) for name, own in shapes.items()):
            return None
        greatest = {name: tuple(map(max, own, others[name])) for name, own in shapes.items()}
        fits = all(rows * math.prod(shape) <= _MAX_PADDED for shape in greatest.values())
        return greatest if fits else None

    def _answer(self, batch: Sequence["_Request"]) -> None:
        if len(batch) > 1:
            # If the batch fails, its requests run alone below, and only invalid requests fail.
            with contextlib.suppress(Exception):
                outputs = self._run(_joined(batch))
                self._observe(sum(request.rows for request in batch))
                _split(outputs, batch)
                return
        for request in batch:
            try:
                request.outputs = self._run(request.inputs)
                self._observe(request.rows)
            except Exception as error:
                request.error = error

    def _hand_over(self) -> None:
        with self._lock:
            if not self._waiting:
                self._running = False
                return
            leader = self._waiting.popleft()
            self.queued -= leader.rows
        leader.leads = True
        leader.wake.release()


class _Request:
    """A request that waits for its response, or for its turn to lead a batch."""

    __slots__ = ("arrived", "error", "inputs", "leads", "outputs", "rows", "wake")

    def __init__(self, inputs: Arrays, rows: int):
        self.inputs, self.rows, self.leads, self.arrived = inputs, rows, False, time.monotonic()
        self.outputs, self.error = None, None
        self.wake = threading.Lock()
        self.wake.acquire()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a row of each input."""
        return {name: array.shape[1:] for name, array in self.inputs.items()}

    def is_empty(self) -> bool:
        """Whether an input has no elements."""
        return any(not array.size for array in self.inputs.values())


def _joined(batch: Sequence[_Request]) -> dict[str, np.ndarray]:
    return {
        name: _concatenated([request.inputs[name] for request in batch]) for name in batch[0].inputs
    }


def _concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Joins the rows of all parts. The first element of a part pads its shorter rows."""
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) == 1:
        return np.concatenate(parts)
    greatest = tuple(map(max, *shapes))
    result = np.empty((sum(map(len, parts)), *greatest), parts[0].dtype)
    row = 0
    for part in parts:
        block = result[row : row + len(part)]
        block[...] = part.flat[0]
        block[tuple(map(slice, part.shape))] = part
        row += len(part)
    return result


def _split(outputs: Mapping[str, np.ndarray], batch: Sequence[_Request]) -> None:
    """Gives each request its rows of the outputs, after a check of the number of rows."""
    rows = sum(request.rows for request in batch)
    if any(array.shape[:1] != (rows,) for array in outputs.values()):
        message = (
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors."
        )
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)
    begin = 0
    for request in batch:
        end = begin + request.rows
        request.outputs = {name: array[begin:end] for name, array in outputs.items()}
        begin = end
