"""What the checks read of a run directory: held-out events, metrics and items."""

import dataclasses
import json
import re
from pathlib import Path

import polars as pl

from .checksums import RUN_SUMS, damage

_COLUMNS = {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
_METRIC = re.compile(r"(HR|NDCG)@[1-9]\d*|MRR")


class RunError(Exception):
    """A run or a configuration that cannot be used."""


@dataclasses.dataclass(frozen=True)
class Event:
    """A held-out event: the user, the history before it, oldest first, and its item."""

    user: str
    history: list[str]
    target: str


def read_events(run: str | Path, part: str = "test") -> list[Event]:
    """Reads the held-out events of a run, "test" or "valid".

    Raises:
        RunError: If the run does not have them.
    """
    path = _run_file(run, f"{part}.parquet")
    if not path.is_file():
        raise RunError(
            f"{run} has no {path.name}; give a folder that tfrec_attn.train has written."
        )
    try:
        events = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise RunError(
            f"{path} cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')}); "
            "train again."
        ) from None
    if dict(events.schema) != _COLUMNS or not len(events):
        raise RunError(
            f"{path} must have rows with the columns {', '.join(_COLUMNS)} of texts, "
            "but is another table; train again."
        )
    return [Event(*row) for row in events.rows()]


def read_metrics(run: str | Path, part: str = "test") -> dict[str, float]:
    """Reads the metrics HR@k, NDCG@k and MRR of a run, "test" or "valid".

    Raises:
        RunError: If the folder is no finished run, or has other metrics.
    """
    found = _metrics(run).get(part)
    if (
        not isinstance(found, dict)
        or not found
        or not all(
            _METRIC.fullmatch(name) and isinstance(value, (int, float))
            for name, value in found.items()
        )
    ):
        raise RunError(
            f"{Path(run) / 'metrics.json'} must have the metrics HR@k, NDCG@k and MRR of {part}, "
            "but has others or none; train again."
        )
    return found


def read_repeats(run: str | Path) -> str:
    """Reads the rule of the evaluation: "exclude" (the history is not recommended) or "include".

    Raises:
        RunError: If the folder is no finished run.
    """
    protocol = _metrics(run).get("protocol")
    rule = protocol.get("repeats") if isinstance(protocol, dict) else None
    return "include" if rule == "include" else "exclude"


def read_items(run: str | Path) -> list[str]:
    """Reads the ids of all items.

    Raises:
        RunError: If the run does not have them.
    """
    path = _run_file(run, "vocabulary/items.txt")
    try:
        return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError):
        raise RunError(f"{path} is missing or no text; train again.") from None


def _metrics(run: str | Path) -> dict:
    path = _run_file(run, "metrics.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise RunError(
            f"{run} is not a finished run: it has no {path.name}; "
            "give a folder that tfrec_attn.train has written."
        ) from None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _run_file(run: str | Path, name: str) -> Path:
    """The path of a file of a run, whose checksum is checked.

    Raises:
        RunError: If the file is damaged.
    """
    if what := damage(Path(run), RUN_SUMS, [name]):
        raise RunError(f"{what}: bring the run back as the training wrote it, or train again.")
    return Path(run) / name
