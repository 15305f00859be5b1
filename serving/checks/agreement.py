"""Compares the metrics of a run with those of its served model."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.replay.event_ranking import (
    Predict,
    cutoff,
    mean,
    rank_events,
    ranks_in_lists,
    recommend,
)
from tfrec_attn.replay.measured_run import (
    metrics_of,
    read_events,
    read_items,
    read_report,
    repeats_of,
)

from ..clients.base_client import BaseClient
from ..clients.grpc_client import GrpcClient
from ..clients.rest_client import RestClient

TOLERANCE = 1e-6
_SECONDS = 60.0
# Most ids of an input, because a server can limit their number.
_ELEMENTS = 1 << 15
_AT_ONCE = 8


def compare(
    target: str,
    rest: str | None,
    model: str,
    run: str,
    split: str = "test",
    limit: int | None = None,
    rows: int = 32,
    approximate: bool = False,
    tolerance: float = TOLERANCE,
) -> dict:
    """Replays the held-out events of a run on a server, and computes the metrics again.

    A way is a protocol, gRPC or REST, with requests in batches or one by one.

    Args:
        target: HOST:PORT of the gRPC server.
        rest: URL of the REST server. None skips REST.
        model: Name of the model.
        run: Run directory of the model.
        split: "test" (default) or "valid".
        limit: Number of events whose lists are requested. None (default) takes all. The vectors
            always rank all events.
        rows: Most rows of a request (default: 32), at most max_batch_size of the server.
        approximate: Whether the lists come from an index, so that they are not compared (default:
            False).
        tolerance: Largest allowed difference of a metric by vectors (default: 1e-6).

    Returns:
        A dictionary with these keys:

        - "events": Number of held-out events.
        - "repeats": The run's rule for items of the history, "exclude" or "include".
        - "metrics": For each metric its value by "run", by "vectors" over all events, by "vectors,
          same events" over the events of the lists, and by the lists of each way. The last is None
          if the lists are too short.
        - "ways": For each way {"events", "k", "keeps_seen"} of its lists.
        - "close": Number of targets with another item's score within rounding.
        - "tolerance": As given.
        - "difference": A sentence about the first difference, or None.

    Raises:
        ConfigError: If the run cannot be used.
        ClientError: If a request fails.
        ValueError: If an argument is invalid.
    """
    if rest is not None and not rest.startswith("http://"):
        raise ValueError(f"--rest must be http://HOST:PORT, but is {rest!r}.")
    content = read_report(run)
    expected, repeats = metrics_of(content, run, split), repeats_of(content)
    events, metrics, ways, listed = read_events(run, split), {}, {}, {}
    with GrpcClient(target, model, timeout=_SECONDS) as client:
        ranking = rank_events(
            client.predict,
            events,
            read_items(run),
            1,
            repeats=repeats,
            keep_seen=repeats == "include",
            rows=rows_of(events, rows),
        )
    some, k = events.head(limit or len(events)), max(map(cutoff, expected)) or 10
    for way, ask in _ways(target, rest, model, rows, some["history"].list.len().max()):
        lists = ask(some, k)
        listed[way] = ranks_in_lists(lists, some["target"].to_list())
        ways[way] = {
            "events": len(some),
            "k": max(map(len, lists)),
            "keeps_seen": keep_seen(lists, some),
        }
    longest, same = max(one["k"] for one in ways.values()), ranking.rank[: len(some)]
    for name, value in expected.items():
        metrics[name] = {
            "run": value,
            "vectors": mean(name, ranking.rank),
            "vectors, same events": mean(name, same),
        }
        for way, ranks in listed.items():
            # Items whose scores equal the target's up to rounding can be in any order.
            ranks = np.where(ranking.agrees(ranks, longest), same, ranks)
            metrics[name][way] = mean(name, ranks) if 0 < cutoff(name) <= longest else None
    report = {
        "events": len(events),
        "repeats": repeats,
        "metrics": metrics,
        "ways": ways,
        "close": int(np.count_nonzero(ranking.best != ranking.worst)),
    }
    compared = list(ways) if not approximate else []
    difference = _difference(report, compared, tolerance)
    return {**report, "tolerance": tolerance, "difference": difference}


def _ways(target, rest, model, rows, longest):
    """Yields (name, function from (events, k) to lists) for each way to send requests."""
    options = {"timeout": _SECONDS, "max_history": max(longest, 1)}
    clients = {"gRPC": GrpcClient(target, model, **options)}
    if rest is not None:
        clients["REST"] = RestClient(rest, model, **options)
    for protocol, client in clients.items():
        with client:
            in_batches = functools.partial(ask_in_batches, client.predict, rows=rows)
            yield f"{protocol} in batches", in_batches
            yield f"{protocol} one by one", functools.partial(ask_one_by_one, client)


def _difference(report: dict, ways: Sequence[str], tolerance: float) -> str | None:
    close = (
        f" ({report['close']} of {report['events']} targets have another item's score within "
        "rounding)"
        if report["close"]
        else ""
    )
    for name, row in report["metrics"].items():
        if not abs(row["vectors"] - row["run"]) <= tolerance:
            return (
                f"{name} must be {row['run']:.8f} as in metrics.json, "
                f"but the served vectors give {row['vectors']:.8f}{close}; for a model exported "
                "with --matrix int8 or bfloat16, give what export.verify allows as --tolerance."
            )
        for way in ways:
            if (
                row[way] is not None
                and not abs(row[way] - row["vectors, same events"]) <= TOLERANCE
            ):
                expected = row["vectors, same events"]
                return (
                    f"{name} must be {expected:.8f}, "
                    f"but the lists of {way} give {row[way]:.8f}{_rule(report, way)}{close}."
                )
    if ways and all(row[way] is None for row in report["metrics"].values() for way in ways):
        longest = max(one["k"] for one in report["ways"].values())
        return (
            f"The lists have {longest} items at most, too few for any metric; "
            "export the model with a greater --max-k."
        )
    return None


def _rule(report: dict, way: str) -> str:
    """The remedy if lists and run have different rules for items of the history, else ""."""
    keeps, repeats = report["ways"][way]["keeps_seen"], report["repeats"]
    if keeps == (repeats == "include"):
        return ""
    option = "--no-keep-seen" if keeps else "--keep-seen"
    verb = "have" if keeps else "leave out"
    return (
        f", which {verb} items of the history, "
        f"while the run was evaluated with evaluate.repeats={repeats}: export it with {option}"
    )


def rows_of(events: pl.DataFrame, rows: int) -> int:
    """Returns the number of events, at most `rows`, that fit into any request."""
    return max(1, min(rows, _ELEMENTS // (events["history"].list.len().max() + 1)))


def ask_in_batches(predict: Predict, events: pl.DataFrame, k: int, rows: int) -> list[list[str]]:
    """Returns the k best items of each event, with at most `rows` events in a request."""
    lists = []
    for some in events.iter_slices(rows_of(events, rows)):
        histories = some["history"].to_list()
        history = padded(histories, max(map(len, histories)) + 1)
        lists += recommend(predict, {"user_id": some["user_id"].to_numpy(), "history": history}, k)[
            0
        ]
    return lists


def ask_one_by_one(client: BaseClient, events: pl.DataFrame, k: int) -> list[list[str]]:
    """Returns the k best items of each event, with one event in a request, on eight threads."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda row: client.recommend(row[1], row[0], k=k), events.rows())
        return [answer.items for answer in answers]


def keep_seen(lists: list[list[str]], events: pl.DataFrame) -> bool:
    """Returns whether any list has an item of its history."""
    histories = events["history"].to_list()
    return any(
        not set(items).isdisjoint(history) for items, history in zip(lists, histories, strict=True)
    )
