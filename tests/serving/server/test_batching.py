"""Batches of waiting requests: padded as in TF Serving, without shared responses or failures.

The function under a batcher is plain Python. Where it must be busy, it waits for the test.
"""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from serving.protocol.statuses import StatusError, invalid
from serving.server.batching import Batcher, BatchOptions

SECONDS = 30


class Recorder:
    """Returns the rows, records its inputs, and refuses rows that begin with `bad`."""

    def __init__(self):
        self.batches, self.threads = [], []
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, inputs):
        self.batches.append({name: array.tolist() for name, array in inputs.items()})
        self.threads.append(threading.get_ident())
        self.entered.release()
        assert self.free.wait(SECONDS)
        rows = inputs["x"]
        if any(row[:1] == ["bad"] for row in rows.tolist()):
            raise invalid("bad is bad.")
        return {"y": rows, "sum": np.arange(len(rows))}

    @property
    def sizes(self):
        return [len(batch["x"]) for batch in self.batches]


def texts(*rows):
    return {"x": np.array(rows, object).reshape(len(rows), -1)}


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.001)


def together(batcher, run, requests):
    """Responses or errors of requests that all waited while the function was busy."""

    def answer(request):
        try:
            return batcher.run(request)["y"].tolist()
        except Exception as error:
            return error

    run.free.clear()
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        first = pool.submit(batcher.run, texts(["first"]))
        assert run.entered.acquire(timeout=SECONDS)
        futures, rows = [], batcher.queued
        for request in requests:
            futures.append(pool.submit(answer, request))
            rows += len(request["x"])
            until(lambda: batcher.queued >= rows)
        run.free.set()
        assert first.result(SECONDS)["y"].tolist() == [["first"]]
        return [future.result(SECONDS) for future in futures]


def make(**options):
    run, observed = Recorder(), []
    return Batcher(run, BatchOptions(**options), observed.append), run, observed


def test_a_lone_request_runs_at_once_in_its_own_thread():
    batcher, run, observed = make(max_batch_size=4)
    assert batcher.run(texts(["a"]))["y"].tolist() == [["a"]]
    assert run.threads == [threading.get_ident()]
    assert observed == [1]


def test_what_waits_runs_together_and_gets_its_own_rows():
    batcher, run, observed = make(max_batch_size=4)
    answers = together(batcher, run, [texts(["a"], ["b"]), texts(["c"])])
    assert answers == [[["a"], ["b"]], [["c"]]]
    assert run.batches[1] == {"x": [["a"], ["b"], ["c"]]}
    assert run.sizes == observed == [1, 3]
    assert batcher.queued == 0


def test_no_batch_is_larger_than_allowed():
    batcher, run, _ = make(max_batch_size=2)
    answers = together(batcher, run, [texts([name]) for name in "abcde"])
    assert answers == [[[name]] for name in "abcde"]
    assert run.sizes == [1, 2, 2, 1]


def test_a_smaller_one_may_pass_one_that_does_not_fit():
    batcher, run, _ = make(max_batch_size=3)
    answers = together(batcher, run, [texts(["a"], ["b"]), texts(["c"], ["d"]), texts(["e"])])
    assert answers == [[["a"], ["b"]], [["c"], ["d"]], [["e"]]]
    assert run.batches[1:] == [{"x": [["a"], ["b"], ["e"]]}, {"x": [["c"], ["d"]]}]


def test_different_lengths_do_not_share_a_batch():
    batcher, run, _ = make()
    answers = together(batcher, run, [texts(["a", "b"]), texts(["1", "2", "3"]), texts(["c", "d"])])
    assert run.batches[1:] == [{"x": [["a", "b"], ["c", "d"]]}, {"x": [["1", "2", "3"]]}]
    assert answers == [[["a", "b"]], [["1", "2", "3"]], [["c", "d"]]]


def test_where_it_is_wanted_shorter_inputs_are_padded_on_the_right_with_their_first_element():
    batcher, run, _ = make(pad_variable_length_inputs=True)
    answers = together(batcher, run, [texts(["a", "b"], ["c", "d"]), texts(["1", "2", "3", "4"])])
    # The first element of the tensor, not of the row.
    assert run.batches[1] == {
        "x": [["a", "b", "a", "a"], ["c", "d", "a", "a"], ["1", "2", "3", "4"]]
    }
    assert answers == [[["a", "b", "a", "a"], ["c", "d", "a", "a"]], [["1", "2", "3", "4"]]]


def test_every_axis_is_padded():
    batcher, run, _ = make(pad_variable_length_inputs=True)
    one, other = np.arange(2).reshape(1, 2, 1) + 5, np.arange(3).reshape(1, 1, 3)
    together(batcher, run, [{"x": one}, {"x": other}])
    assert run.batches[1]["x"] == [[[5, 5, 5], [6, 5, 5]], [[0, 1, 2], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("pad", "one", "other"),
    [
        (True, texts([], []), texts(["a"])),
        (True, texts(["a"]), texts([])),
        (True, texts(["a"]), {"x": np.array([[["a"]]], object)}),
        (False, texts(["a"]), {"x": np.array([[["a"]]], object)}),
        # A batch of 2 x 200,000 would be made of 200,001.
        (True, texts(["a"]), texts(["a"] * 200_000)),
    ],
    ids=["empty first", "empty second", "ranks", "ranks without padding", "very long"],
)
def test_what_cannot_share_a_batch_runs_apart(pad, one, other):
    batcher, run, _ = make(pad_variable_length_inputs=pad)
    answers = together(batcher, run, [one, other])
    assert answers == [one["x"].tolist(), other["x"].tolist()]
    assert run.sizes == [1, len(one["x"]), len(other["x"])]


def test_empty_rows_of_the_same_shape_share_a_batch():
    batcher, run, _ = make()
    assert together(batcher, run, [texts([]), texts([])]) == [[[]], [[]]]
    assert run.sizes == [1, 2]


def test_a_bad_request_fails_alone():
    batcher, run, _ = make()
    answers = together(batcher, run, [texts(["a"]), texts(["bad"]), texts(["b"])])
    assert answers[0] == [["a"]] and answers[2] == [["b"]]
    assert isinstance(answers[1], StatusError) and answers[1].message == "bad is bad."
    assert batcher.run(texts(["next"]))["y"].tolist() == [["next"]]


def test_an_unexpected_failure_reaches_its_request_and_no_other():
    def run(inputs):
        if len(inputs["x"]) > 1 or inputs["x"][0, 0] == "bad":
            raise MemoryError("too much")
        return recorder(inputs)

    recorder = Recorder()
    batcher = Batcher(run, BatchOptions())
    answers = together(batcher, recorder, [texts(["a"]), texts(["bad"]), texts(["b"])])
    assert answers[0] == [["a"]] and answers[2] == [["b"]]
    assert isinstance(answers[1], MemoryError)
    assert batcher.run(texts(["next"]))["y"].tolist() == [["next"]]


def test_outputs_that_are_not_rows_of_the_batch_are_made_one_by_one():
    run = Recorder()
    batcher = Batcher(lambda inputs: {"y": run(inputs)["y"][:1]}, BatchOptions())
    assert together(batcher, run, [texts(["a"]), texts(["b"])]) == [[["a"]], [["b"]]]
    assert run.sizes == [1, 2, 1, 1]


def test_a_full_queue_refuses():
    batcher, run, _ = make(max_batch_size=2, max_enqueued_batches=2)
    run.free.clear()
    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(batcher.run, texts(["first"]))]
        assert run.entered.acquire(timeout=SECONDS)
        futures += [pool.submit(batcher.run, texts([name])) for name in "abcd"]
        until(lambda: batcher.queued == 4)
        with pytest.raises(StatusError) as raised:
            batcher.run(texts(["late"]))
        run.free.set()
        assert [future.result(SECONDS)["y"].tolist() for future in futures] == [
            [[name]] for name in ["first", *"abcd"]
        ]
    assert raised.value.code == grpc.StatusCode.UNAVAILABLE
    assert raised.value.message.startswith(
        "The batch scheduling queue to which this task was submitted is full; 4 of 4 rows wait"
    )
    assert batcher.run(texts(["next"]))["y"].tolist() == [["next"]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            texts(*(["a"] for _ in range(3))),
            "Task size 3 is larger than maximum input batch size 2; send fewer rows a request.",
        ),
        (
            {"x": np.zeros([2, 1]), "user_id": np.zeros([1])},
            "Batching Run() input tensors must have equal 0th-dimension size, "
            "but there are 1 rows of user_id, 2 rows of x.",
        ),
        (
            {"x": np.zeros([])},
            "Batching Run() input tensors must have at least one dimension, but x is a scalar.",
        ),
    ],
)
def test_what_no_batch_can_hold_is_invalid(inputs, message):
    batcher, run, _ = make(max_batch_size=2)
    with pytest.raises(StatusError) as raised:
        batcher.run(inputs)
    assert raised.value.code == grpc.StatusCode.INVALID_ARGUMENT and raised.value.message == message
    assert run.batches == []
    assert batcher.run(texts(["next"]))["y"].tolist() == [["next"]]


def test_with_a_timeout_a_batch_waits_until_it_is_full():
    batcher, run, _ = make(max_batch_size=2, batch_timeout=10.0 * SECONDS)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(batcher.run, texts([name])) for name in "ab"]
        assert [future.result(SECONDS)["y"].tolist() for future in futures] == [[["a"]], [["b"]]]
    assert run.sizes == [2]


def test_the_wait_ends():
    batcher, run, _ = make(max_batch_size=2, batch_timeout=0.01)
    assert batcher.run(texts(["a"]))["y"].tolist() == [["a"]]
    assert run.sizes == [1]


@pytest.mark.parametrize("pad", [False, True])
def test_many_threads_get_their_own_answers(pad):
    batcher, _, observed = make(
        max_batch_size=8, max_enqueued_batches=100, pad_variable_length_inputs=pad
    )

    def work(worker):
        choice = random.Random(worker)
        for count in range(200):
            columns = choice.choice([1, 2])
            rows = [[f"{worker}-{count}-{row}"] * columns for row in range(choice.choice([1, 3]))]
            assert batcher.run(texts(*rows))["y"][:, :columns].tolist() == rows
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert sum(observed) >= 8 * 200 and max(observed) <= 8 and batcher.queued == 0
