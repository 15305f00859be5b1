"""Calls run on the thread that was busy last, never on more than there may be, and all that were
taken are answered.
"""

import threading

import pytest

from serving.server.worker_pool import WorkerPool

SECONDS = 30


@pytest.fixture
def make():
    pools = []

    def pool(most):
        pools.append(WorkerPool(most))
        return pools[-1]

    yield pool
    for one in pools:
        one.shutdown()


def test_results_and_errors(make):
    pool = make(2)
    assert pool.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    assert pool.submit(sorted, [1, 2], reverse=True).result(SECONDS) == [2, 1]
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(SECONDS)
    assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]


def occupy(pool, count):
    """(futures, their threads' names, what ends each) of calls that run at the same time."""
    free, running = [threading.Event() for _ in range(count)], threading.Barrier(count + 1)

    def hold(number):
        running.wait(SECONDS)
        assert free[number].wait(SECONDS)
        return threading.get_ident()

    futures = [pool.submit(hold, number) for number in range(count)]
    running.wait(SECONDS)
    return futures, free


def rest(pool, futures, free, order):
    """Ends calls one after the other, each once the thread of the one before is idle; returns their
    threads in that order.
    """
    threads = []
    for place, number in enumerate(order, 1):
        free[number].set()
        threads.append(futures[number].result(SECONDS))
        while len(pool._idle) < place:
            pass
    return threads


def test_the_thread_that_was_busy_last_works_first(make):
    pool = make(3)
    threads = rest(pool, *occupy(pool, 3), [1, 2, 0])
    assert len(set(threads)) == 3
    futures, free = occupy(pool, 2)
    assert rest(pool, futures, free, [0, 1]) == [threads[2], threads[1]]


def test_no_more_threads_than_it_may_have(make):
    pool = make(2)
    futures, free = occupy(pool, 2)
    late = [pool.submit(threading.get_ident) for _ in range(5)]
    assert not any(future.done() for future in late)
    for event in free:
        event.set()
    own = {future.result(SECONDS) for future in futures}
    assert {future.result(SECONDS) for future in late} <= own and len(own) == 2


def test_shutdown_answers_what_was_taken(make):
    pool = make(1)
    futures, free = occupy(pool, 1)
    late, dropped = pool.submit(abs, -1), make(1)
    held, ends = occupy(dropped, 1)
    cancelled = dropped.submit(abs, -1)
    for one, options in ((pool, {}), (dropped, {"cancel_futures": True})):
        one.shutdown(wait=False, **options)
        with pytest.raises(RuntimeError, match="takes no calls"):
            one.submit(abs, -1)
    free[0].set()
    ends[0].set()
    pool.shutdown()
    dropped.shutdown()
    assert late.result(0) == 1 and cancelled.cancelled() and futures[0].done() and held[0].done()


def test_threads_end(make):
    before = threading.active_count()
    pool = make(4)
    futures, free = occupy(pool, 4)
    assert threading.active_count() == before + 4
    for event in free:
        event.set()
    pool.shutdown()
    assert threading.active_count() == before and all(future.done() for future in futures)
