"""The threads that answer gRPC calls."""

import threading
from collections import deque
from concurrent import futures


class WorkerPool(futures.Executor):
    """Threads of which the one that was busy last works first.

    What it needs is then still in the caches of the processor; `ThreadPoolExecutor` takes the one
    that has waited longest.

    Args:
      most: threads; further calls wait.
    """

    def __init__(self, most: int):
        self._most, self._closed = most, False
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._waiting: deque[tuple] = deque()

    def submit(self, function, /, *arguments, **named) -> futures.Future:
        """Calls the function on a thread once one is free, and returns the future of its result.
        Errors: RuntimeError after `shutdown`.
        """
        task = futures.Future(), function, arguments, named
        with self._lock:
            if self._closed:
                raise RuntimeError("The pool takes no calls after its shutdown.")
            worker = self._idle.pop() if self._idle else self._another()
            if worker is None:
                self._waiting.append(task)
        if worker is not None:
            worker.give(task)
        return task[0]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls, and ends the threads when those that were taken have ended."""
        with self._lock:
            self._closed = True
            for future, *_ in self._waiting if cancel_futures else ():
                future.cancel()
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.give(None)
        for worker in self._workers if wait else ():
            worker.thread.join()

    def next(self, worker: "_Worker") -> tuple | None:
        """A task for a worker that is free; None where it has to wait for one."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                worker.give(None)
            else:
                self._idle.append(worker)
        return None

    def _another(self) -> "_Worker | None":
        if len(self._workers) == self._most:
            return None
        self._workers.append(_Worker(self))
        return self._workers[-1]


class _Worker:
    """A thread, and the task that it is given; None ends it."""

    def __init__(self, pool: WorkerPool):
        self._pool, self._task, self._given = pool, None, threading.Lock()
        self._given.acquire()
        self.thread = threading.Thread(target=self._work, name="grpc", daemon=True)
        self.thread.start()

    def give(self, task: tuple | None) -> None:
        self._task = task
        self._given.release()

    def _work(self):
        while True:
            self._given.acquire()
            task = self._task
            if task is None:
                return
            while task is not None:
                _run(*task)
                # Else what the call held would stay until the next one.
                self._task = task = None
                task = self._pool.next(self)


def _run(future, function, arguments, named):
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*arguments, **named)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
