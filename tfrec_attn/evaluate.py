"""Evaluates a finished run again from its checkpoint: `python -m tfrec_attn.evaluate RUN [--split
test] [--on current-log]`.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import format_table
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.kept_events import KeptEvents, read_kept_events
from tfrec_attn.data.sequences.replay_log import save_replay_log, split_checksum
from tfrec_attn.errors import ConfigError, DataError, TfrecError
from tfrec_attn.files.writing import check_output, write_output
from tfrec_attn.runs import run, run_files
from tfrec_attn.runtime.process import import_tensorflow, set_precision

_RANKS = "user_id\titem_id\trank"
RUN, CURRENT_LOG = "run", "current-log"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 for a run or data that cannot be used."""
    parser = Arguments(
        prog="python -m tfrec_attn.evaluate",
        description="Evaluates a finished run from its checkpoint.",
    )
    parser.add_argument("run", type=path, help="folder that tfrec_attn.train has written")
    parser.add_argument(
        "--split",
        choices=("valid", "test"),
        default="test",
        help="which held-out events (default: test)",
    )
    parser.add_argument(
        "--on",
        choices=(RUN, CURRENT_LOG),
        default=RUN,
        help="run: the events that the run kept, for the figures of its metrics.json (default); current-log: those of its log as it is now",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--ranks",
        type=path,
        metavar="FILE",
        help="write user, item and rank of every held-out event to this TSV file",
    )
    parsed = parser.parse_args(arguments)
    try:
        report = evaluate(parsed.run, parsed.split, parsed.ranks, parsed.on)
    except TfrecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    if parsed.on == CURRENT_LOG:
        sys.stderr.write(f"note: {_differences(parsed.run, report['current_log'])}\n")
    sys.stdout.write(
        f"{json.dumps(report, indent=2) if parsed.json else _table(parsed.split, report)}\n"
    )
    return 0


def evaluate(folder: str, part: str = "test", ranks_file: str | None = None, on: str = RUN) -> dict:
    """Metrics of one part with their intervals.

    Args:
        folder: The run.
        part: "valid" or "test".
        ranks_file: TSV to write user_id, item_id and rank of every held-out event to.
        on: "run": the events that the run kept, so that the metrics are those of its metrics.json,
            whatever became of its log. "current-log": those that its log holds out as it is now; a
            target that the run does not know is a miss, and such an event of a history is passed
            over.

    Returns:
        The metrics, as they stand in metrics.json; on the current log also `current_log`, how it
        differs from that of the run.

    Raises:
        ConfigError: If the run is none or damaged, or the file cannot be written.
        DataError: If the events or the log cannot be used.
    """
    if ranks_file is not None:
        check_output(ranks_file, _RANKS, "--ranks")
    path, config = Path(folder), run.load_config(folder)
    import_tensorflow()
    set_precision(config.runtime.precision)
    model = run.load_model(path)
    if on == CURRENT_LOG:
        with tempfile.TemporaryDirectory() as scratch:
            events = run.kept_events_file(Path(scratch), part)
            differences = _read_log_again(path, part, events)
            ranks, unknown = _rank(model, config, events, part, ranks_file)
        differences["unknown_targets"] = unknown
    else:
        ranks, unknown = _rank(model, config, _kept_by(path, part), part, ranks_file)
        if unknown:
            raise DataError(
                f"{folder} kept events of items that are not in its vocabulary; train again."
            )
    from tfrec_attn.training.fitting import report

    return {
        **report(ranks, config, part),
        **({"current_log": differences} if on == CURRENT_LOG else {}),
    }


def _kept_by(folder: Path, part: str) -> Path:
    path = run.kept_events_file(folder, part)
    run_files.check_files(folder, path.name)
    if not path.is_file():
        remedy = f"evaluate it with --on {CURRENT_LOG}, or train again"
        raise ConfigError(
            f"{folder} has no {path.name}, which trainings of earlier versions did not write; {remedy}."
        )
    return path


def _read_log_again(folder: Path, part: str, target: Path) -> dict:
    """Writes the held-out events of the run's log as it is now -> what differs from when it was
    trained on.
    """
    data, metrics = run.load_data(folder), run.load_metrics(folder)
    save_replay_log(data.split, part, target)
    known, config = run.load_vocabularies(folder), run.load_config(folder)
    now = (data.sequences.user_vocabulary, data.sequences.item_vocabulary)
    kept = run.kept_events_file(folder, part)
    same = split_checksum(data.split) == metrics["data"].get("sha256") and kept.is_file()
    events = (pl.read_parquet(path).sort("user_id") for path in (kept, target)) if same else ()
    return {
        "log": config.data.path or config.data.source,
        "same": same and next(events).equals(next(events)),
        "events": data.report.after.events,
        "events_of_run": metrics["data"].get("after", {}).get("events"),
        **{
            f"unknown_{kind}": len(new) - int(np.count_nonzero(old.lookup(new.ids())))
            for kind, old, new in zip(("users", "items"), known, now, strict=True)
        },
    }


def _rank(
    model, config: Config, path: Path, part: str, ranks_file: str | None
) -> tuple[np.ndarray, int]:
    """Ranks the events of a file in the order of the run's users -> ranks, and how many targets the
    run does not know.
    """
    found = []
    for events in read_kept_events(path, part, (model.user_vocabulary, model.item_vocabulary)):
        found.append(
            (
                events.users,
                _ranks(model, config, events, part),
                events.user_ids,
                events.targets,
                events.known,
            )
        )
    users, ranks, ids, targets, known = (
        np.concatenate([np.asarray(one) for one in parts]) for parts in zip(*found, strict=True)
    )
    order = np.argsort(users, kind="stable")
    if ranks_file is not None:
        _write_ranks(ranks_file, zip(ids[order], targets[order], ranks[order], strict=True))
    return ranks[order], int(np.count_nonzero(~known))


def _ranks(model, config: Config, events: KeptEvents, part: str) -> np.ndarray:
    import tensorflow as tf

    from tfrec_attn.evaluation.ranking import MISS
    from tfrec_attn.training.fitting import rank

    users = tf.constant(events.users[events.known])

    def ranks(features):
        return model.ranks({**features, "user": tf.gather(users, features["user"] - 1)})

    # What the model does not know it cannot recommend: a miss at every cut-off.
    result = np.full(len(events.known), MISS, np.int32)
    if events.known.any():
        result[events.known] = rank(ranks, config, events.split, part)
    return result


def _write_ranks(path: str, rows) -> None:
    from tfrec_attn.evaluation.ranking import MISS

    lines = [
        _RANKS,
        *(f"{user}\t{item}\t{'inf' if place == MISS else place}" for user, item, place in rows),
    ]
    write_output(path, "\n".join(lines) + "\n", _RANKS, "--ranks")


def _differences(folder: str, found: dict) -> str:
    if found["same"]:
        return f"{found['log']} is the log that {folder} was trained on."
    return (
        f"these are not the figures of {folder}: {found['log']} now has {found['events']} events, not {found['events_of_run']}, "
        f"{found['unknown_users']} users and {found['unknown_items']} items that the run does not know, and "
        f"{found['unknown_targets']} held-out events of such items, which are misses."
    )


def _table(part: str, report: dict) -> str:
    name = f"{part} of the current log" if "current_log" in report else part
    return format_table(name, {"model": report[part]}, report.get(f"{part}_interval"))


if __name__ == "__main__":
    sys.exit(main())
