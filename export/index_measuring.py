"""What an index costs and gains: recall and latency beside the exact search, both as they are
served.
"""

import time
from pathlib import Path

import numpy as np
import polars as pl

from .replay import padded
from .session import Session

_WARM = 20


def measure_index(exact: Path, indexed: Path, events: pl.DataFrame, k: int) -> dict[str, float]:
    """Asks two SavedModels the same, one user at a time.

    Args:
      exact: one that ranks all items.
      indexed: one of the same model with an index.
      events: held-out events as `export.replay.read_events` gives them.
      k: items wanted.

    Returns: "recall@k", the share of the exact answers' items that the index finds, and "p50_ms"
    and "exact_p50_ms".
    """
    found, milliseconds = _answers(indexed, events, k)
    best, exact_milliseconds = _answers(exact, events, k)
    shares = [len(one & other) / len(one) for one, other in zip(best, found, strict=True) if one]
    return {
        f"recall@{k}": round(float(np.mean(shares or [1.0])), 4),
        "p50_ms": round(milliseconds, 3),
        "exact_p50_ms": round(exact_milliseconds, 3),
    }


def _answers(folder: Path, events: pl.DataFrame, k: int) -> tuple[list[set[bytes]], float]:
    """(items of each answer, median milliseconds)."""
    nothing, wanted = np.array([[""]], object), np.array([k], np.int32)
    requests = [
        {
            "user_id": np.array([user], object),
            "history": padded([history], len(history) + 1),
            "exclude": nothing,
            "allow": nothing,
            "k": wanted,
        }
        for user, history, _ in events.rows()
    ]
    answers, times = [], []
    with Session(folder) as session:
        for request in requests[:_WARM]:
            session.run("recommend", **request)
        for request in requests:
            begin = time.perf_counter()
            items = session.run("recommend", **request)["items"]
            times.append(1000 * (time.perf_counter() - begin))
            answers.append(set(items[0]) - {b""})
    return answers, float(np.median(times))
