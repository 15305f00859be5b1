"""What a load test says of its samples."""

import collections
import math
from collections.abc import Sequence
from pathlib import Path

from .load_loops import OK, Sample

TOOL = "tfrec-attn load test"  # what the files begin with
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def summary(samples: Sequence[Sample]) -> dict:
    """Figures of samples.

    Returns:
        `seconds` from the start to the last end, `requests`, `answered`, `errors` (status ->
        count), `per_second` answered, and `latency_ms` of those answered: the smallest that 50, 95,
        99 and 100 % did not exceed, and the mean; None where none was.
    """
    answered = sorted(1e3 * sample.seconds for sample in samples if sample.status == OK)
    seconds = max((sample.at + sample.seconds for sample in samples), default=0.0)
    latency = (
        {
            name: answered[math.ceil(share * len(answered)) - 1]
            for name, share in _PERCENTILES.items()
        }
        if answered
        else None
    )
    return {
        "seconds": seconds,
        "requests": len(samples),
        "answered": len(answered),
        "errors": dict(
            sorted(
                collections.Counter(
                    sample.status for sample in samples if sample.status != OK
                ).items()
            )
        ),
        "per_second": len(answered) / seconds if seconds else 0.0,
        "latency_ms": {**latency, "mean": sum(answered) / len(answered)} if latency else None,
    }


def table(report: dict) -> str:
    """The figures of `summary` as text."""
    latency = report["latency_ms"] or {}
    errors = ", ".join(f"{count} {status}" for status, count in report["errors"].items()) or "none"
    lines = [
        f"{report['requests']} requests in {report['seconds']:.1f} s, {report['answered']} answered, {report['per_second']:.1f} a second",
        f"errors: {errors}",
        *(
            [f"latency: {', '.join(f'{name} {value:.2f}' for name, value in latency.items())} ms"]
            if latency
            else []
        ),
    ]
    return "\n".join(lines)


def is_replaceable(path: Path) -> bool:
    """Whether a file may be written: it is new, empty or no regular file, or was written by a load
    test.
    """
    if not path.is_file():
        return True
    with open(path, "rb") as stream:
        beginning = stream.read(1 << 10)
    return not beginning or TOOL.encode() in beginning


def check_plot() -> None:
    """Errors: ValueError when there is nothing to draw with."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ValueError(
            "--plot needs matplotlib; install it with pip install 'tfrec-attn[plot]', or leave --plot out."
        ) from None


def plot(samples: Sequence[Sample], title: str, path: str | Path) -> None:
    """Draws the latency of each request over the time at which it was due, and the share of
    requests below each latency, as PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, shares = figure.subplots(1, 2, sharey=True)
    for status in sorted({sample.status for sample in samples}):
        some = [sample for sample in samples if sample.status == status]
        over_time.plot(
            [one.at for one in some],
            [1e3 * one.seconds for one in some],
            ".",
            markersize=2,
            label=f"{status} ({len(some)})",
        )
    answered = sorted(1e3 * sample.seconds for sample in samples if sample.status == OK)
    shares.plot([(place + 1) / len(answered) for place in range(len(answered))], answered)
    over_time.set(xlabel="time (s)", ylabel="latency (ms)", yscale="log", title=title)
    shares.set(xlabel="share of answers", title="answers below a latency")
    if samples:
        over_time.legend()
    figure.savefig(path, format="png", metadata={"Software": TOOL})
