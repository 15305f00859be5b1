"""Prepares logs with Apache Beam: `python -m tfrec_attn.data.pipeline --input LOG... --to DIR
[data.key=value ...] [--runner NAME ...]`.

The folder is the one that `tfrec_attn.data.prepare` writes, to the byte. The workers read a file
each, filter, number the ids and write the shards; files between the jobs lie in `--work`, which the
workers and this process must share. This process fetches the shards and counts what goes into the
manifest, and so needs the disk for the folder, but not the memory. Unlike the local command it does
not go on where it stopped.

Workers elsewhere need an image with this package and the environment of `make validate-env`;
docs/data.md has a command for Dataflow, Flink and Spark each.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import numpy as np

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.config import Data
from tfrec_attn.data.prepare import distinct, options_of, shards_of, summary
from tfrec_attn.data.reading.times import FileTimes, LogTimes, MixedTimes
from tfrec_attn.data.sequences.ids import Findings, IdReport
from tfrec_attn.data.sequences.preparation import Statistics
from tfrec_attn.data.sequences.selection import Selection, has_conditions
from tfrec_attn.data.sequences.splits import period, require_bounds
from tfrec_attn.data.shards import beam_steps as steps
from tfrec_attn.data.shards.beam_steps import Event
from tfrec_attn.data.shards.local_preparation import (
    check_target,
    claimed,
    complete,
    number_of_shards,
)
from tfrec_attn.data.shards.manifest import VERSION, Manifest
from tfrec_attn.data.shards.order_statistics import Values
from tfrec_attn.data.shards.prepared import ITEMS, OPTIONS, READING, REJECTED, USERS, Facts, option
from tfrec_attn.data.shards.shard_files import shard_name
from tfrec_attn.errors import ConfigError, DataError, TfrecError

_ROUNDS = 3  # of the frequency filter in one job


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 2 for options or data that cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    overrides = [text for text in arguments if text.startswith("data.") and "=" in text]
    parser = Arguments(
        prog="python -m tfrec_attn.data.pipeline",
        description=__doc__.splitlines()[0],
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--input",
        type=path,
        nargs="+",
        required=True,
        metavar="LOG",
        help="log files in order of time; a worker reads one",
    )
    parser.add_argument(
        "--to", type=path, required=True, metavar="DIR", help="folder to write, on this machine"
    )
    parser.add_argument(
        "--work",
        type=path,
        metavar="DIR",
        help="folder that the workers share, such as gs://bucket/folder (default: in DIR.partial)",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="remove unfinished work of another command, and replace a complete folder",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="files of sequences (default: one for each million events, at least 8)",
    )
    parsed, beam_options = parser.parse_known_args(
        [text for text in arguments if text not in overrides]
    )
    try:
        data = options_of(overrides)
        logs, shards = distinct(parsed.input), shards_of(parsed.shards)
        manifest = prepare_with_beam(
            logs, parsed.to, data, shards, parsed.work, beam_options, restart=parsed.restart
        )
    except TfrecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{summary(manifest, parsed.to)}\n")
    return 0


_EPILOG = "data.key=value as for tfrec_attn.data.prepare; other options go to Beam, such as --runner DataflowRunner --region europe-west4"


def prepare_with_beam(
    logs: Sequence[str],
    to: str | Path,
    data: Data,
    shards: int | None = None,
    work: str | None = None,
    beam_options: Sequence[str] = (),
    *,
    restart: bool = False,
) -> Manifest:
    """Prepares logs into a folder, which has its name when it is complete.

    Args:
        logs: Files, folders of parts or patterns, in order, local or of one of Beam's file systems.
        to: The folder, which must not exist.
        data: Of the section, the keys in `OPTIONS` count, without conditions on ratings and types;
            the log must have times.
        shards: As for `prepare_log`.
        work: Folder that the workers share; a folder of its own is made in it, and removed at the
            end. None is `to`.partial/beam, for workers on this machine.
        beam_options: Of the pipelines, such as `["--runner=DirectRunner"]`.
        restart: As for `prepare_log`.

    Raises:
        ConfigError: If Beam is not installed, if `to` exists, if there are such conditions, or if
            the log has no times.
        DataError: As for `prepare_log`.
    """
    _require_beam()
    require_bounds(data.split, valid_from=data.valid_from, test_from=data.test_from)
    if data.columns.timestamp is None:
        raise ConfigError(
            "data.columns.timestamp=null needs the lines in their order: prepare the log with tfrec_attn.data.prepare."
        )
    if has_conditions(replace(data, ids="keep", missing_ids="keep", duplicates="keep")):
        raise ConfigError(
            "data.min_rating and data.event_types do not go through Beam: prepare the log with tfrec_attn.data.prepare."
        )
    if data.columns.event is not None:
        raise ConfigError(
            "data.columns.event does not go through Beam: leave it out, or prepare the log with tfrec_attn.data.prepare."
        )
    found = steps.parts_of_logs(logs)
    target = Path(to)
    check_target(target, restart)
    options = {key: option(data, key) for key in OPTIONS}
    order = {
        "version": VERSION,
        "logs": list(logs),
        "options": options,
        "shards": shards,
        "runner": "beam",
    }
    with claimed(target, order, restart) as claim:
        try:
            with steps.working_folder(work or str(claim.folder / "beam")) as shared:
                facts = _Jobs(data, shared, list(beam_options)).run(found, shards)
                _fetch(shared, claim.folder, facts)
            return complete(claim, target, facts)
        except BaseException:
            # It could not be taken up.
            claim.abandon()
            raise


def _require_beam() -> None:
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        raise ConfigError(
            "Apache Beam is not installed: make validate-env sets up an environment that has it."
        ) from None


def _fetch(shared: str, partial: Path, facts: Facts) -> None:
    names = [shard_name(number, facts.shards) for number in range(facts.shards)]
    for name in (USERS, ITEMS, *names):
        steps.copy(f"{shared}/{name}", partial / name)
    rejected = list(steps.read_lines(f"{shared}/rejected-*.tsv"))
    if rejected:
        lines = [rejected[0], *(line for line in rejected if line != rejected[0])]
        (partial / REJECTED).write_text(
            "".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n"
        )


class _Jobs:
    """The pipelines, one after the other; files in the shared folder join each to the next."""

    def __init__(self, data: Data, shared: str, options: list[str]):
        self._data, self._shared, self._options = data, shared, options

    def run(self, logs: dict[str, list[str]], wanted: int | None) -> Facts:
        """Runs all and returns what is known of the log; shards and vocabularies then lie in the
        shared folder.
        """
        data, job, files = self._data, *self._read(logs)
        whole = all(file["whole_times"] for file in files)
        selection = self._selection(files)
        if data.duplicates == "drop":
            earlier, job = self._size(job), self._drop_copies(job, whole)
            selection = replace(selection, duplicates=earlier.events - self._size(job).events)
        before = self._size(job)
        if not before.events:
            raise DataError(
                f"data.missing_ids=drop leaves nothing of {selection.events} events: set it to keep."
            )
        ids = self._ids(job)
        events, after = self._filter(job, before)
        temporal = data.split == "temporal"
        facts = Facts(
            logs=[path.rpartition("/")[2] for parts in logs.values() for path in parts],
            options={key: option(data, key) for key in OPTIONS},
            before=asdict(before),
            after=asdict(after),
            rejected=sum(file["rejected"] for file in files),
            whole_times=whole,
            shards=number_of_shards(wanted, after.events, after.users),
            period=period(data.valid_from, data.test_from, self._times(events, whole).quantile)
            if temporal
            else None,
            selection=selection.to_dict() if has_conditions(data) else None,
            ids=ids.to_dict(),
        )
        self._write(events, facts)
        return facts

    def _pipeline(self):
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        return beam.Pipeline(options=PipelineOptions(self._options))

    def _read(self, logs: dict[str, list[str]]) -> tuple[int, list[dict]]:
        """Reads and checks the logs; returns the number of the job whose events are theirs, and
        what is known of each file.
        """
        paths = [path for parts in logs.values() for path in parts]
        files = self._read_once(0, paths, None)
        times = LogTimes(
            {
                file["file"]: FileTimes(**file["times"])
                for file in files
                if file["times"] is not None
            }
        )
        try:
            times.require_one_kind()
            return 0, self._with_events(logs, files)
        except MixedTimes:
            rules = {path: times.rule(path) for path in paths}
            return 1, self._with_events(logs, self._read_once(1, paths, rules))

    def _read_once(self, job: int, paths: list[str], rules: dict | None) -> list[dict]:
        import apache_beam as beam

        options = {key: option(self._data, key) for key in READING}
        ids = self._data.ids == "unify", self._data.missing_ids == "drop"
        with self._pipeline() as p:
            numbered = p | beam.Create(list(enumerate(paths))) | beam.Reshuffle()
            found = numbered | beam.FlatMap(steps.read_log, options, ids, self._shared, rules)
            files = (
                found
                | "Files" >> beam.Filter(lambda one: isinstance(one, dict))
                | beam.Map(json.dumps)
            )
            _ = files | beam.io.WriteToText(f"{self._shared}/files-{job}")
            self._save(found | "Events" >> beam.Filter(lambda one: not isinstance(one, dict)), job)
        files = sorted(
            steps.read_json(f"{self._shared}/files-{job}*"),
            key=lambda file: paths.index(file["file"]),
        )
        for file in files:
            if "error" in file:
                raise DataError(file["error"])
        return files

    @staticmethod
    def _with_events(logs: dict[str, list[str]], files: list[dict]) -> list[dict]:
        for name, parts in logs.items():
            if not any(file["events"] for file in files if file["file"] in parts):
                lost = sum(file["rejected"] for file in files if file["file"] in parts)
                raise DataError(
                    f"{name} holds no interactions{f': all {lost} lines were rejected' if lost else ''}."
                )
        return files

    def _selection(self, files: list[dict]) -> Selection:
        """What `IdFilter` did to all files."""
        missing = Counter()
        for file in files:
            missing.update(file["missing"] or {})
        return Selection(
            sum(file["events"] for file in files),
            unified=sum(file["unified"] for file in files) if self._data.ids == "unify" else None,
            missing_ids=dict(sorted(missing.items())) if self._data.missing_ids == "drop" else None,
        )

    def _drop_copies(self, job: int, whole: bool) -> int:
        """Leaves of events that are copies of each other the first; returns the number of the job
        whose events stay.
        """
        import apache_beam as beam

        with self._pipeline() as p:
            keyed = self._load(p, job) | "Key" >> beam.Map(steps.key_of_copies, whole)
            self._save(
                keyed | "Group" >> beam.GroupByKey() | "First" >> beam.Map(steps.first_of), job + 1
            )
        return job + 1

    def _ids(self, job: int) -> IdReport:
        """What there is to say of the ids."""
        import apache_beam as beam

        with self._pipeline() as p:
            events = self._load(p, job)
            for field, name in enumerate(("users", "items")):
                ids = events | f"Id {name}" >> beam.Map(lambda event, field=field: event[field])
                words = (
                    ids
                    | f"Words {name}" >> beam.FlatMap(steps.missing_word)
                    | f"Count {name}" >> beam.combiners.Count.PerElement()
                )
                _ = (
                    words
                    | f"Lines {name}" >> beam.Map(json.dumps)
                    | f"Save {name}" >> beam.io.WriteToText(f"{self._shared}/words-{name}")
                )
                common = (
                    ids
                    | f"Distinct {name}" >> beam.Distinct()
                    | f"Common {name}" >> beam.FlatMap(steps.common_writing)
                )
                several = (
                    common
                    | f"Group {name}" >> beam.GroupByKey()
                    | f"Several {name}" >> beam.FlatMap(steps.several_writings)
                )
                _ = several | f"Save writings {name}" >> beam.io.WriteToText(
                    f"{self._shared}/writings-{name}"
                )
        found = []
        for name in ("users", "items"):
            words, writings = (
                steps.read_json(f"{self._shared}/{kind}-{name}-*") for kind in ("words", "writings")
            )
            found.append(Findings.grouped(writings, dict(words)))
        return IdReport(*found)

    def _filter(self, read: int, before: Statistics) -> tuple[int, Statistics]:
        """Filters until every user and item has enough events; returns the number of the job whose
        events stay, and their size.
        """
        import apache_beam as beam

        least = self._data.min_user_events, self._data.min_item_events
        if max(least) <= 1:
            return read, before
        size = before
        for job in count(read + 1):
            with self._pipeline() as p:
                events = self._load(p, job - 1)
                for turn in range(_ROUNDS):
                    for field, number in enumerate(least):
                        keyed = events | f"Key {turn} {field}" >> beam.Map(
                            lambda event, field=field: (event[field], event)
                        )
                        grouped = keyed | f"Group {turn} {field}" >> beam.GroupByKey()
                        events = grouped | f"Enough {turn} {field}" >> beam.FlatMap(
                            steps.enough, number
                        )
                self._save(events, job)
            earlier, size = size, self._size(job)
            if not size.events:
                rule = f"data.min_user_events={least[0]} and data.min_item_events={least[1]}"
                raise DataError(f"{rule} leave nothing of {before}: lower them.")
            if size.events == earlier.events:
                return job, size
        raise AssertionError("the jobs do not end")

    def _write(self, job: int, facts: Facts) -> None:
        """Numbers users and items by first appearance, and writes vocabularies and shards."""
        import apache_beam as beam

        with self._pipeline() as p:
            events = self._load(p, job)
            rows = {
                name: self._numbered(events, field, name)
                for field, name in enumerate((USERS, ITEMS))
            }
            by_user = events | "By user" >> beam.Map(
                lambda event: (event.user, (event.item, event.time, event.place))
            )
            joined = (
                {"rows": rows[USERS], "events": by_user}
                | "Join users" >> beam.CoGroupByKey()
                | beam.FlatMap(steps.with_user_rows)
            )
            by_item = {"rows": rows[ITEMS], "events": joined} | "Join items" >> beam.CoGroupByKey()
            dealt = (
                by_item
                | beam.FlatMap(steps.with_item_indices, facts.shards)
                | "By shard" >> beam.GroupByKey()
            )
            _ = dealt | beam.Map(steps.write_one_shard, asdict(facts), self._shared)

    def _numbered(self, events, field: int, name: str):
        """Pairs of an id and its row, from 0, by first appearance; all ids pass through one worker,
        which writes them.
        """
        import apache_beam as beam

        first = (
            events
            | f"Place {name}" >> beam.Map(lambda event: (event[field], event.place))
            | f"First {name}" >> beam.CombinePerKey(min)
        )
        listed = (
            first
            | f"List {name}" >> beam.combiners.ToList()
            | f"Sort {name}" >> beam.Map(steps.by_place)
        )
        _ = listed | f"Write {name}" >> beam.Map(steps.write_lines, f"{self._shared}/{name}")
        return listed | f"Number {name}" >> beam.FlatMap(
            lambda ids: [(one, row) for row, one in enumerate(ids)]
        )

    def _load(self, p, job: int):
        import apache_beam as beam

        return p | beam.io.ReadFromText(f"{self._shared}/events-{job}-*") | beam.Map(Event.parse)

    def _save(self, events, job: int) -> None:
        """Writes events, and how many events, users and items they are."""
        import apache_beam as beam

        _ = (
            events
            | beam.Map(Event.line)
            | "Write events" >> beam.io.WriteToText(f"{self._shared}/events-{job}")
        )
        sizes = {"events": events}
        for field, name in enumerate(("users", "items")):
            sizes[name] = (
                events
                | name >> beam.Map(lambda event, field=field: event[field])
                | f"Distinct {name}" >> beam.Distinct()
            )
        for name, values in sizes.items():
            counted = values | f"Count {name}" >> beam.combiners.Count.Globally()
            _ = counted | f"Save {name}" >> beam.io.WriteToText(f"{self._shared}/size-{job}-{name}")

    def _size(self, job: int) -> Statistics:
        return Statistics(
            *(
                int(next(steps.read_lines(f"{self._shared}/size-{job}-{name}-*")))
                for name in ("events", "users", "items")
            )
        )

    def _times(self, job: int, whole: bool) -> Values:
        def read(path: str) -> np.ndarray:
            return np.array(
                [Event.parse(line).time for line in steps.read_lines(path)],
                np.int64 if whole else np.float64,
            )

        return Values(
            [lambda path=path: read(path) for path in steps.files(f"{self._shared}/events-{job}-*")]
        )


if __name__ == "__main__":
    sys.exit(main())
