"""Checks that a served model has the metrics of its run.

python -m serving.verify --target HOST:PORT [--rest URL] --model NAME --run RUN
"""

import argparse
import contextlib
import functools
import json
import sys
from collections.abc import Sequence

import numpy as np

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import align, fail
from tfrec_attn.errors import TfrecError

from .cli.packages import importing

TOLERANCE = 1e-6
_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 if all metrics are those of the run, 1 if one differs or no server answers, 2 for an
        invalid run or options.
    """
    parsed = _parser().parse_args(arguments)
    for name in ("limit", "rows"):
        if (value := getattr(parsed, name)) is not None and value < 1:
            sys.stderr.write(f"error: --{name} must be 1 or greater, but is {value}.\n")
            return 2
    try:
        with importing():
            from .clients import batches  # noqa: F401
        report = verify(
            parsed.target,
            parsed.rest,
            parsed.model,
            parsed.run,
            parsed.split,
            parsed.limit,
            parsed.rows,
            parsed.approximate,
        )
    except (TfrecError, ValueError) as error:
        return fail(error)
    sys.stdout.write(f"{json.dumps(report, indent=2) if parsed.json else _table(report)}\n")
    if report["difference"]:
        sys.stderr.write(f"error: {report['difference']}\n")
    return 1 if report["difference"] else 0


def verify(
    target: str,
    rest: str | None,
    model: str,
    run: str,
    part: str = "test",
    limit: int | None = None,
    rows: int = 32,
    approximate: bool = False,
) -> dict:
    """Replays the held-out events of a run on a server, and computes the metrics of the run again.

    Args:
        target: HOST:PORT of gRPC.
        rest: URL of REST; None skips it.
        model: Name of the model.
        run: Run directory of the model.
        part: "test" or "valid".
        limit: Number of events whose lists are requested, all by default. The vectors always rank
            all events.
        rows: Most rows of a request, at most max_batch_size of the server.
        approximate: Whether the lists come from an index and need not be exact.

    Returns:
        {"events", "repeats", "metrics": {name: {"run", "vectors", WAY: ...}}, "ways": {WAY:
        {"events", "k", "keeps_seen"}}, "close", "difference"}. A metric by vectors is that of all
        events. That of a way of asking is that of its lists, None if they are too short. The last
        is a sentence on the first difference, or None.

    Raises:
        ConfigError, ClientError, ValueError: If the run, the server or an argument cannot be used.
    """
    from tfrec_attn.replay.event_ranking import cutoff, mean, rank_events, ranks_in_lists
    from tfrec_attn.replay.measured_run import (
        metrics_of,
        read_events,
        read_items,
        read_report,
        repeats_of,
    )

    from .checks.served_lists import keep_seen, rows_of
    from .clients.batches import over_grpc

    content = read_report(run)
    expected, repeats = metrics_of(content, run, part), repeats_of(content)
    events, metrics, ways, listed = read_events(run, part), {}, {}, {}
    with over_grpc(target, model) as predict:
        ranking = rank_events(
            predict,
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
            # Items within rounding of the target may come in any order.
            ranks = np.where(ranking.agrees(ranks, longest), same, ranks)
            metrics[name][way] = mean(name, ranks) if 0 < cutoff(name) <= longest else None
    report = {
        "events": len(events),
        "repeats": repeats,
        "metrics": metrics,
        "ways": ways,
        "close": int(np.count_nonzero(ranking.best != ranking.worst)),
    }
    return {**report, "difference": _difference(report, list(ways) if not approximate else [])}


def _ways(target, rest, model, rows, longest):
    """Yields (name, (events, k) -> lists) of each way to ask, opened when its turn comes."""
    from .checks.served_lists import ask_in_batches, ask_one_by_one
    from .clients.batches import over_grpc, over_rest
    from .clients.grpc_client import GrpcClient
    from .clients.rest_client import RestClient

    options = {"timeout": _SECONDS, "max_history": max(longest, 1)}
    in_batches = functools.partial(ask_in_batches, rows=rows)
    opened = {
        "gRPC in batches": (in_batches, lambda: over_grpc(target, model)),
        "gRPC one by one": (ask_one_by_one, lambda: GrpcClient(target, model, **options)),
    }
    if rest is not None:
        opened["REST in batches"] = (in_batches, lambda: over_rest(rest, model))
        opened["REST one by one"] = (ask_one_by_one, lambda: RestClient(rest, model, **options))
    for way, (ask, opening) in opened.items():
        with contextlib.ExitStack() as stack:
            asker = stack.enter_context(opening())
            yield way, lambda events, k, ask=ask, asker=asker: ask(asker, events, k)


def _difference(report: dict, ways: Sequence[str]) -> str | None:
    close = (
        f" ({report['close']} of {report['events']} targets have another item's score within "
        "rounding)"
        if report["close"]
        else ""
    )
    for name, row in report["metrics"].items():
        if not abs(row["vectors"] - row["run"]) <= TOLERANCE:
            return (
                f"{name} must be {row['run']:.8f} as in metrics.json, "
                f"but the served vectors give {row['vectors']:.8f}{close}."
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
    """What to do if the lists follow another rule than the run for items of the history."""
    keeps, repeats = report["ways"][way]["keeps_seen"], report["repeats"]
    if keeps == (repeats == "include"):
        return ""
    option = "--no-keep-seen" if keeps else "--keep-seen"
    verb = "have" if keeps else "leave out"
    return (
        f", which {verb} items of the history, "
        f"while the run was evaluated with evaluate.repeats={repeats}: export it with {option}"
    )


def _table(report: dict) -> str:
    columns = [
        "run",
        "vectors",
        *(["vectors, same events"] if _partial(report) else []),
        *report["ways"],
    ]
    lines = [["", *columns]]
    for name, row in report["metrics"].items():
        lines.append(
            [name, *("" if row[column] is None else f"{row[column]:.8f}" for column in columns)]
        )
    ways = "".join(
        f"\n{way}: {one['events']} lists of {one['k']}" for way, one in report["ways"].items()
    )
    return (
        f"{align(lines)}\n\n{report['events']} events by their vectors, "
        f"evaluate.repeats={report['repeats']}{ways}"
    )


def _partial(report):
    return any(one["events"] < report["events"] for one in report["ways"].values())


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(
        prog=f"python -m {__package__}.verify",
        description="Replays the held-out events of a run on a running server, and compares the "
        "metrics with those of the run.",
    )
    parser.add_argument("--target", required=True, metavar="HOST:PORT", help="gRPC server")
    parser.add_argument(
        "--rest",
        metavar="URL",
        help="its REST interface, such as http://127.0.0.1:8501 (default: not tried)",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="model that is served")
    parser.add_argument(
        "--run",
        type=path,
        required=True,
        metavar="RUN",
        help="folder that tfrec_attn.train has written",
    )
    parser.add_argument(
        "--split",
        choices=("valid", "test"),
        default="test",
        help="which held-out events (default: test)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help="number of events whose lists are compared (default: all); vectors rank all",
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=32,
        metavar="N",
        help="most of a request, at most the server's max_batch_size (default: 32)",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="show, but do not compare, lists of a model exported with --index ivf",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
