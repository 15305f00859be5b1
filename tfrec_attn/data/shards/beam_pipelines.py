"""The Apache Beam pipelines that prepare a log."""

import json
from collections import Counter
from dataclasses import asdict, replace
from itertools import count

import numpy as np

from tfrec_attn.config import Data
from tfrec_attn.data.reading.time_rule import FileTimes, LogTimes, MixedTimes
from tfrec_attn.data.sequences.event_filters import EventFilterReport, has_event_filters
from tfrec_attn.data.sequences.filter_report import Statistics
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.splits import period
from tfrec_attn.data.shards import beam_files
from tfrec_attn.data.shards import beam_transforms as transforms
from tfrec_attn.data.shards.beam_transforms import Event
from tfrec_attn.data.shards.manifest import PartitionedLog
from tfrec_attn.data.shards.order_statistics import ChunkedArray
from tfrec_attn.data.shards.preparation_folder import (
    number_of_shards,
)
from tfrec_attn.data.shards.prepared_log import ITEMS, OPTIONS, READING, USERS, option
from tfrec_attn.errors import DataError

_ROUNDS = 3  # of the frequency filter in one job


class BeamPipelines:
    """The pipelines, one after the other; files in the shared folder join each to the next."""

    def __init__(self, data: Data, shared: str, options: list[str]):
        self._data, self._shared, self._options = data, shared, options

    def run(self, logs: dict[str, list[str]], wanted: int | None) -> PartitionedLog:
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
        partitioned = PartitionedLog(
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
            selection=selection.to_dict() if has_event_filters(data) else None,
            ids=ids.to_dict(),
        )
        self._write(events, partitioned)
        return partitioned

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
            found = numbered | beam.FlatMap(transforms.read_log, options, ids, self._shared, rules)
            files = (
                found
                | "Files" >> beam.Filter(lambda one: isinstance(one, dict))
                | beam.Map(json.dumps)
            )
            _ = files | beam.io.WriteToText(f"{self._shared}/files-{job}")
            self._save(found | "Events" >> beam.Filter(lambda one: not isinstance(one, dict)), job)
        files = sorted(
            beam_files.read_json(f"{self._shared}/files-{job}*"),
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

    def _selection(self, files: list[dict]) -> EventFilterReport:
        """What `IdFilter` did to all files."""
        missing = Counter()
        for file in files:
            missing.update(file["missing"] or {})
        return EventFilterReport(
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
            keyed = self._load(p, job) | "Key" >> beam.Map(transforms.key_of_copies, whole)
            self._save(
                keyed | "Group" >> beam.GroupByKey() | "First" >> beam.Map(transforms.first_of), job + 1
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
                    | f"Words {name}" >> beam.FlatMap(transforms.missing_word)
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
                    | f"Common {name}" >> beam.FlatMap(transforms.common_writing)
                )
                several = (
                    common
                    | f"Group {name}" >> beam.GroupByKey()
                    | f"Several {name}" >> beam.FlatMap(transforms.several_writings)
                )
                _ = several | f"Save writings {name}" >> beam.io.WriteToText(
                    f"{self._shared}/writings-{name}"
                )
        found = []
        for name in ("users", "items"):
            words, writings = (
                beam_files.read_json(f"{self._shared}/{kind}-{name}-*") for kind in ("words", "writings")
            )
            found.append(IdProblems.grouped(writings, dict(words)))
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
                            transforms.enough, number
                        )
                self._save(events, job)
            earlier, size = size, self._size(job)
            if not size.events:
                rule = f"data.min_user_events={least[0]} and data.min_item_events={least[1]}"
                raise DataError(f"{rule} leave nothing of {before}: lower them.")
            if size.events == earlier.events:
                return job, size
        raise AssertionError("the jobs do not end")

    def _write(self, job: int, partitioned: PartitionedLog) -> None:
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
                | beam.FlatMap(transforms.with_user_rows)
            )
            by_item = {"rows": rows[ITEMS], "events": joined} | "Join items" >> beam.CoGroupByKey()
            dealt = (
                by_item
                | beam.FlatMap(transforms.with_item_indices, partitioned.shards)
                | "By shard" >> beam.GroupByKey()
            )
            _ = dealt | beam.Map(transforms.write_one_shard, asdict(partitioned), self._shared)

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
            | f"Sort {name}" >> beam.Map(transforms.by_place)
        )
        _ = listed | f"Write {name}" >> beam.Map(beam_files.write_lines, f"{self._shared}/{name}")
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
                int(next(beam_files.read_lines(f"{self._shared}/size-{job}-{name}-*")))
                for name in ("events", "users", "items")
            )
        )

    def _times(self, job: int, whole: bool) -> ChunkedArray:
        def read(path: str) -> np.ndarray:
            return np.array(
                [Event.parse(line).time for line in beam_files.read_lines(path)],
                np.int64 if whole else np.float64,
            )

        return ChunkedArray(
            [lambda path=path: read(path) for path in beam_files.files(f"{self._shared}/events-{job}-*")]
        )
