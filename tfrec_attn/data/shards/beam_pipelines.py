"""The Apache Beam pipelines that prepare a log; this module needs Apache Beam."""

import json
from collections import Counter
from dataclasses import asdict, replace
from itertools import count

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from tfrec_attn.config import Data
from tfrec_attn.data.reading.time_rule import FileTimes, LogTimes, MixedTimes, TimeRule
from tfrec_attn.data.sequences.encoding import nothing_left
from tfrec_attn.data.sequences.event_filters import EventFilterReport, has_event_filters
from tfrec_attn.data.sequences.filter_report import Statistics
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.splits import period
from tfrec_attn.data.shards import beam_files
from tfrec_attn.data.shards import beam_transforms as transforms
from tfrec_attn.data.shards.beam_transforms import KINDS, Event
from tfrec_attn.data.shards.manifest import PartitionedLog
from tfrec_attn.data.shards.order_statistics import ChunkedArray
from tfrec_attn.data.shards.prepare_locally import no_interactions
from tfrec_attn.data.shards.prepared_log import ITEMS, OPTIONS, READING, USERS, option
from tfrec_attn.data.shards.shard_files import number_of_shards
from tfrec_attn.errors import DataError

_ROUNDS = 3  # of the frequency filter in one pipeline


class BeamPipelines:
    """Runs the pipelines one after the other; each reads the files of the one before.

    The events that pipeline n leaves are in the files events-n of the shared folder.

    Args:
        data: How to read, filter and split the log.
        shared: A folder that this process and the workers share.
        options: Options of Beam.
    """

    def __init__(self, data: Data, shared: str, options: list[str]):
        self._data, self._shared, self._options = data, shared, options

    def run(self, logs: dict[str, list[str]], wanted: int | None) -> PartitionedLog:
        """Writes shards and vocabularies into the shared folder.

        Args:
            logs: The files of each log.
            wanted: Number of shards, or None.

        Returns:
            What is known of the log.
        """
        data, (number, files) = self._data, self._read(logs)
        whole = all(file["whole_times"] for file in files)
        filtered = self._filtered(files)
        if data.duplicates == "drop":
            earlier, number = self.size(number), self._drop_copies(number, whole)
            filtered = replace(filtered, duplicates=earlier.events - self.size(number).events)
        before = self.size(number)
        if not before.events:
            raise DataError(
                f"data.missing_ids=drop leaves nothing of {filtered.events} events: set it to keep."
            )
        ids = self._id_problems(number)
        number, after = self._filter(number, before)
        bounds = None
        if data.split == "temporal":
            bounds = period(data.valid_from, data.test_from, self._times(number, whole).quantile)
        partitioned = PartitionedLog(
            logs=[path.rpartition("/")[2] for parts in logs.values() for path in parts],
            options={key: option(data, key) for key in OPTIONS},
            before=asdict(before),
            after=asdict(after),
            rejected=sum(file["rejected"] for file in files),
            whole_times=whole,
            shards=number_of_shards(wanted, after.events, after.users),
            period=bounds,
            selection=filtered.to_dict() if has_event_filters(data) else None,
            ids=ids.to_dict(),
        )
        self._write(number, partitioned)
        return partitioned

    def _pipeline(self) -> beam.Pipeline:
        return beam.Pipeline(options=PipelineOptions(self._options))

    def _read(self, logs: dict[str, list[str]]) -> tuple[int, list[dict]]:
        """Reads the logs; returns the pipeline with the events, and what is known of each file."""
        paths = [path for parts in logs.values() for path in parts]
        number, files = 0, self._read_once(0, paths, None)
        times = LogTimes(
            {file["file"]: FileTimes(**file["times"]) for file in files if file["times"]}
        )
        try:
            times.require_one_kind()
        except MixedTimes:
            rules = {path: times.rule(path) for path in paths}
            number, files = 1, self._read_once(1, paths, rules)
        for name, parts in logs.items():
            own = [file for file in files if file["file"] in parts]
            if not any(file["events"] for file in own):
                raise DataError(no_interactions(name, sum(file["rejected"] for file in own)))
        return number, files

    def _read_once(
        self, number: int, paths: list[str], rules: dict[str, TimeRule] | None
    ) -> list[dict]:
        options = {key: option(self._data, key) for key in READING}
        ids = self._data.ids == "unify", self._data.missing_ids == "drop"
        with self._pipeline() as p:
            numbered = p | beam.Create(list(enumerate(paths))) | beam.Reshuffle()
            found = numbered | beam.FlatMap(transforms.read_log, options, ids, self._shared, rules)
            files = found | "Files" >> beam.Filter(lambda one: isinstance(one, dict))
            events = found | "Events" >> beam.Filter(lambda one: not isinstance(one, dict))
            self._save_json([files], f"files-{number}")
            self._save(events, number, check_ids=self._data.duplicates != "drop")
        files = self._results(f"files-{number}", len(paths))
        files.sort(key=lambda file: paths.index(file["file"]))
        for file in files:
            if "error" in file:
                raise DataError(file["error"])
        return files

    def _filtered(self, files: list[dict]) -> EventFilterReport:
        """Returns what the filter of ids did to all files."""
        missing = Counter()
        for file in files:
            missing.update(file["missing"] or {})
        return EventFilterReport(
            sum(file["events"] for file in files),
            unified=sum(file["unified"] for file in files) if self._data.ids == "unify" else None,
            missing_ids=dict(sorted(missing.items())) if self._data.missing_ids == "drop" else None,
        )

    def _drop_copies(self, number: int, whole: bool) -> int:
        """Keeps the first of exact copies; returns the number of this pipeline."""
        with self._pipeline() as p:
            keyed = self._load(p, number) | "Key" >> beam.Map(transforms.key_of_copies, whole)
            grouped = keyed | "Group" >> beam.GroupByKey()
            first = grouped | "First" >> beam.Map(transforms.first_of)
            self._save(first, number + 1, check_ids=True)
        return number + 1

    def _id_problems(self, number: int) -> IdReport:
        """Returns the problems with the ids that pipeline `number` found."""
        spellings, words = ({kind: new() for kind in KINDS} for new in (list, dict))
        for (kind, one), found in beam_files.read_json(f"{self._shared}/ids-{number}-*"):
            if isinstance(found, list):
                spellings[kind].append((one, found))
            else:
                words[kind][one] = found
        return IdReport(
            *(IdProblems.from_spellings(spellings[kind], words[kind]) for kind in KINDS)
        )

    def _filter(self, number: int, before: Statistics) -> tuple[int, Statistics]:
        """Filters until every user and item has enough events.

        Returns:
            The number of the last pipeline, and the size of what it leaves.
        """
        least = self._data.min_user_events, self._data.min_item_events
        if max(least) <= 1:
            return number, before
        size = before
        for number in count(number + 1):  # noqa: B020
            with self._pipeline() as p:
                events = self._load(p, number - 1)
                for turn in range(_ROUNDS):
                    for field, fewest in enumerate(least):
                        keyed = events | f"Key {turn} {field}" >> beam.Map(
                            lambda event, field=field: (event[field], event)
                        )
                        grouped = keyed | f"Group {turn} {field}" >> beam.GroupByKey()
                        events = grouped | f"Enough {turn} {field}" >> beam.FlatMap(
                            transforms.enough, fewest
                        )
                self._save(events, number)
            earlier, size = size, self.size(number)
            if not size.events:
                raise DataError(nothing_left(*least, before))
            if size.events == earlier.events:
                return number, size
        raise AssertionError("the pipelines do not end")

    def _write(self, number: int, log: PartitionedLog) -> None:
        """Numbers users and items by first appearance, and writes vocabularies and shards."""
        with self._pipeline() as p:
            events = self._load(p, number)
            user_rows = self._numbered(events, 0, USERS)
            item_rows = self._numbered(events, 1, ITEMS)
            by_user = events | "By user" >> beam.Map(
                lambda event: (event.user, (event.item, event.time, event.place))
            )
            by_item = (
                {"rows": user_rows, "events": by_user}
                | "Join users" >> beam.CoGroupByKey()
                | beam.FlatMap(transforms.with_user_rows)
            )
            _ = (
                {"rows": item_rows, "events": by_item}
                | "Join items" >> beam.CoGroupByKey()
                | beam.FlatMap(transforms.with_item_indices, log.shards)
                | "By shard" >> beam.GroupByKey()
                | beam.Map(transforms.write_one_shard, asdict(log), self._shared)
            )

    def _numbered(self, events: beam.PCollection, field: int, name: str) -> beam.PCollection:
        """Returns pairs of an id and its row, from 0, by first appearance.

        All ids pass through one worker, which writes the vocabulary.
        """
        ids = (
            events
            | f"Place {name}" >> beam.Map(lambda event: (event[field], event.place))
            | f"First {name}" >> beam.CombinePerKey(min)
            | f"List {name}" >> beam.combiners.ToList()
            | f"Sort {name}" >> beam.Map(transforms.by_place)
        )
        _ = ids | f"Write {name}" >> beam.Map(beam_files.write_lines, f"{self._shared}/{name}")
        return ids | f"Number {name}" >> beam.FlatMap(
            lambda ids: [(one, row) for row, one in enumerate(ids)]
        )

    def _load(self, p: beam.Pipeline, number: int) -> beam.PCollection:
        files = f"{self._shared}/events-{number}-*"
        return p | beam.io.ReadFromText(files) | beam.Map(Event.parse)

    def _save(self, events: beam.PCollection, number: int, *, check_ids: bool = False) -> None:
        """Writes events, the numbers of events, users and items, and problems with their ids."""
        path = f"{self._shared}/events-{number}"
        _ = events | beam.Map(Event.line) | "Write events" >> beam.io.WriteToText(path)
        ids = events | "Ids" >> beam.FlatMap(lambda event: zip(KINDS, event[:2], strict=True))
        distinct = ids | "Distinct ids" >> beam.Distinct()
        counted = [
            events.pipeline | "Zeros" >> beam.Create([(kind, 0) for kind in ("events", *KINDS)]),
            events | "One event" >> beam.Map(lambda event: ("events", 1)),
            distinct | "One id" >> beam.Map(lambda one: (one[0], 1)),
        ]
        sizes = counted | "Counted" >> beam.Flatten() | "Sizes" >> beam.CombinePerKey(sum)
        self._save_json([sizes], f"size-{number}")
        if check_ids:
            words = (
                ids
                | "Missing words" >> beam.Filter(transforms.is_missing_word)
                | "Count words" >> beam.combiners.Count.PerElement()
            )
            spellings = (
                distinct
                | "Common spellings" >> beam.FlatMap(transforms.common_spelling)
                | "Group spellings" >> beam.GroupByKey()
                | "Several spellings" >> beam.FlatMap(transforms.several_spellings)
            )
            self._save_json([words, spellings], f"ids-{number}")

    def _save_json(self, collections: list[beam.PCollection], name: str) -> None:
        """Writes the elements of all collections as lines of JSON."""
        _ = (
            collections
            | f"Flatten {name}" >> beam.Flatten()
            | f"Lines {name}" >> beam.Map(json.dumps)
            | f"Save {name}" >> beam.io.WriteToText(f"{self._shared}/{name}")
        )

    def size(self, number: int) -> Statistics:
        """Returns the numbers of events, users and items that pipeline `number` wrote."""
        return Statistics(**dict(self._results(f"size-{number}", 1 + len(KINDS))))

    def _results(self, name: str, expected: int) -> list:
        """Reads lines of JSON, of which there must be an expected number."""
        results = beam_files.read_json(f"{self._shared}/{name}-*")
        if len(results) != expected:
            raise DataError(
                f"{self._shared} must hold {expected} results of the workers ({name}) but holds "
                f"{len(results)}: give --work a folder that the workers and this process share."
            )
        return results

    def _times(self, number: int, whole: bool) -> ChunkedArray:
        """Returns the times of all events."""

        def read(path: str) -> np.ndarray:
            times = [Event.parse(line).time for line in beam_files.read_lines(path)]
            return np.array(times, np.int64 if whole else np.float64)

        paths = beam_files.files(f"{self._shared}/events-{number}-*")
        return ChunkedArray([lambda path=path: read(path) for path in paths])
