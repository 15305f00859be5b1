"""Evaluates a finished run from its checkpoint: `python -m tfrec_attn.evaluate RUN`."""

import json
import math
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tfrec_attn import extensions, models
from tfrec_attn.cli.arguments import Arguments, add_split, path
from tfrec_attn.cli.terminal import format_table, reporting
from tfrec_attn.config import Config, has_prior
from tfrec_attn.data.sequences.held_out_log import (
    HeldOutEvents,
    read_held_out_log,
    save_held_out_log,
)
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError, DataError, counted
from tfrec_attn.files.writing import check_output, write_output
from tfrec_attn.runs import run, run_files
from tfrec_attn.runtime.process import import_tensorflow, set_precision

_RANKS = "user_id\titem_id\trank"
RUN, CURRENT_LOG = "run", "current-log"


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command, and returns 0, or 2 for a run or data that cannot be used."""
    parser = Arguments(
        prog="python -m tfrec_attn.evaluate",
        description="Evaluates a finished run from its checkpoint.",
    )
    parser.add_argument("run", type=path, help="folder that tfrec_attn.train has written")
    add_split(parser)
    parser.add_argument(
        "--on",
        choices=(RUN, CURRENT_LOG),
        default=RUN,
        help="run (default): the held-out events of the run, which give the values in its "
        "metrics.json; current-log: the held-out events of its log as it is now",
    )
    parser.add_argument(
        "--ranks",
        type=path,
        metavar="FILE",
        help="write user, item and rank of every held-out event to this TSV file",
    )
    parsed = parser.parse_args(arguments)
    report = evaluate(parsed.run, parsed.split, parsed.ranks, parsed.on)
    if parsed.on == CURRENT_LOG:
        sys.stderr.write(f"note: {_differences(parsed.run, report['current_log'])}\n")
    else:
        expected = run_files.load_metrics(Path(parsed.run)).get(parsed.split, {})
        note = _changed_metric(report[parsed.split], expected)
        if note:
            sys.stderr.write(
                f"note: {note} in {parsed.run}: the code of the model, this package or the machine "
                "has changed since the training.\n"
            )
    text = json.dumps(report, indent=2) if parsed.json else _table(parsed.run, parsed.split, report)
    sys.stdout.write(f"{text}\n")
    return 0


def evaluate(
    folder: str, part: str = "test", ranks_file: str | None = None, on: str = RUN
) -> dict[str, Any]:
    """Returns the metrics of one part with their intervals.

    Args:
        folder: The run.
        part: "valid" or "test" (default).
        ranks_file: TSV file for user_id, item_id and rank of each held-out event. None (default):
            none is written.
        on: "run" (default) evaluates on the held-out events of the run, and gives the values in its
            metrics.json even if the log has changed. "current-log" evaluates on the held-out events
            of the log as it is now: a target that the run does not know is a miss, and an unknown
            item of a history is left out.

    Returns:
        The metrics, as in metrics.json. On the current log also `current_log`: how it has changed.

    Raises:
        ConfigError: If the folder is damaged or not a run, or if the file cannot be written.
        DataError: If the events or the log cannot be used.
    """
    if ranks_file is not None:
        check_output(ranks_file, _RANKS, "--ranks")
    path, config = Path(folder), run_files.load_config(folder)
    import_tensorflow()
    set_precision(config.runtime.precision)
    model = run.load_model(path)
    from tfrec_attn.training.evaluating import report

    if on == CURRENT_LOG:
        with tempfile.TemporaryDirectory() as scratch:
            events = run_files.kept_events_file(Path(scratch), part)
            differences = _save_current_events(path, part, events)
            ranks, users, unknown = _rank(model, config, events, part, ranks_file)
        differences["unknown_targets"] = unknown
        return {**report(ranks, config, part, users), "current_log": differences}
    ranks, users, unknown = _rank(model, config, _events_of_run(path, part), part, ranks_file)
    if unknown:
        raise DataError(
            f"{folder} has held-out events of items that are not in its vocabulary; train again."
        )
    return report(ranks, config, part, users)


def _events_of_run(folder: Path, part: str) -> Path:
    path = run_files.kept_events_file(folder, part)
    run_files.check_files(folder, path.name)
    if not path.is_file():
        raise ConfigError(
            f"{folder} has no {path.name}; evaluate it with --on {CURRENT_LOG}, or train again."
        )
    return path


def _save_current_events(folder: Path, part: str, target: Path) -> dict[str, Any]:
    """Writes the held-out events of the current log, and returns how the log has changed."""
    data, metrics = run.load_data(folder), run_files.load_metrics(folder)
    known, config = run_files.load_vocabularies(folder), run_files.load_config(folder)
    gaps = models.gap_key(config.model.name, config.model.parameters) is not None
    save_held_out_log(data.split, part, target, gaps)
    now = (data.sequences.user_vocabulary, data.sequences.item_vocabulary)
    kept = run_files.kept_events_file(folder, part)
    same = split_checksum(data.split) == metrics["data"].get("sha256") and kept.is_file()
    if same:
        before, after = (pl.read_parquet(path).sort("user_id") for path in (kept, target))
        same = before.equals(after)
    return {
        "log": config.data.path or config.data.source,
        "same": same,
        "events": data.report.after.events,
        "events_of_run": metrics["data"].get("after", {}).get("events"),
        **{
            f"unknown_{kind}": len(new) - int(np.count_nonzero(old.lookup(new.ids())))
            for kind, old, new in zip(("users", "items"), known, now, strict=True)
        },
    }


def _rank(
    model: Any, config: Config, path: Path, part: str, ranks_file: str | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns ranks and users of events, sorted by user, and the number of unknown targets."""
    blocks = []
    for events in read_held_out_log(path, part, (model.user_vocabulary, model.item_vocabulary)):
        ranks = _rank_block(model, config, events, part)
        blocks.append((events.users, ranks, events.user_ids, events.targets, events.known))
    users, ranks, ids, targets, known = (
        np.concatenate([np.asarray(one) for one in column]) for column in zip(*blocks, strict=True)
    )
    order = np.argsort(users, kind="stable")
    if ranks_file is not None:
        _write_ranks(ranks_file, zip(ids[order], targets[order], ranks[order], strict=True))
    return ranks[order], ids[order], int(np.count_nonzero(~known))


def _rank_block(model: Any, config: Config, events: HeldOutEvents, part: str) -> np.ndarray:
    import tensorflow as tf

    from tfrec_attn.evaluation.ranking import MISS
    from tfrec_attn.training.evaluating import rank

    users, traced = tf.constant(events.users[events.known]), model.traced_ranks()

    def ranks(features):
        return traced({**features, "user": tf.gather(users, features["user"] - 1)})

    # The model cannot recommend an unknown item, so its event is a miss at every cut-off.
    result = np.full(len(events.known), MISS, np.int32)
    if events.known.any():
        # `traced` is traced once for all blocks of events.
        result[events.known] = rank(ranks, config, events.split, part, eager=math.inf)
    return result


def _write_ranks(path: str, rows: Iterable[tuple]) -> None:
    from tfrec_attn.evaluation.ranking import MISS

    lines = [_RANKS]
    lines += [f"{user}\t{item}\t{'inf' if rank == MISS else rank}" for user, item, rank in rows]
    write_output(path, "\n".join(lines) + "\n", _RANKS, "--ranks")


def _changed_metric(found: dict[str, float], expected: dict[str, float]) -> str:
    """Describes the metric that differs most from the run; returns "" if it differs by rounding."""
    errors = {name: abs(found[name] - value) for name, value in expected.items() if name in found}
    name = max(errors, key=errors.get, default=None)
    if name is None or errors[name] <= 5e-4:
        return ""
    return f"{name} is {found[name]:.4f} now, but {expected[name]:.4f}"


def _differences(folder: str, found: dict[str, Any]) -> str:
    if found["same"]:
        return f"{found['log']} is the log that {folder} was trained on."

    def number(key: str, noun: str) -> str:
        return counted(found[key], noun, form="")

    return (
        f"these are not the metrics of {folder}: {found['log']} now has "
        f"{number('events', 'event')}, not {found['events_of_run']}, "
        f"{number('unknown_users', 'user')} and "
        f"{number('unknown_items', 'item')} that the run does not know, and "
        f"{number('unknown_targets', 'held-out event')} of such items: each is a miss."
    )


def _table(folder: str, part: str, report: dict[str, Any]) -> str:
    config = run_files.load_config(Path(folder))
    title = f"{part} of the current log" if "current_log" in report else part
    name = f"{extensions.short_name(config.model.name)}{' + prior' if has_prior(config) else ''}"
    return format_table(title, {name: report[part]}, report.get(f"{part}_interval"))


if __name__ == "__main__":
    sys.exit(main())
