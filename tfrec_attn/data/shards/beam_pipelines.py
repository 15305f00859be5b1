"""The Apache Beam pipelines that prepare a log; this module needs Apache Beam."""

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count

import apache_beam as beam
import numpy as np

from tfrec_attn import __version__
from tfrec_attn.config import Data
from tfrec_attn.data.reading.time_rule import FileTimes, LogTimes, MixedTimes, TimeRule
from tfrec_attn.data.sequences.encoding import nothing_left
from tfrec_attn.data.sequences.event_filters import (
    EventFilter,
    EventFilterReport,
    has_event_filters,
)
from tfrec_attn.data.sequences.filter_report import Statistics
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.splits import period
from tfrec_attn.data.shards import beam_files
from tfrec_attn.data.shards import beam_transforms as transforms
from tfrec_attn.data.shards.manifest import PartitionedLog
from tfrec_attn.data.shards.order_statistics import ChunkedArray
from tfrec_attn.data.shards.prepare_locally import no_interactions
from tfrec_attn.data.shards.prepared_log import ITEMS, OPTIONS, USERS, option
from tfrec_attn.data.shards.shard_files import number_of_shards
from tfrec_attn.errors import DataError
from tfrec_attn.runtime.beam_runner import Engine

_PARTITION = 1 << 24  # bytes of the log
_MOST_PARTITIONS = 1 << 12
_ROUNDS = 4  # of the frequency filter in one pipeline


class BeamPipelines:
    """Runs the pipelines one after the other; each reads the files of the one before.

    Each writes partitions into a folder of its own in the shared folder, and what this process must
    know of them into JSON files there.

    Args:
        data: How to read, filter and split the log.
        shared: A folder that this process and the workers share.
        engine: What runs them.
    """

    def __init__(self, data: Data, shared: str, engine: Engine):
        self._data, self._shared, self._engine = data, shared, engine

    def run(self, logs: dict[str, list[str]], wanted: int | None) -> PartitionedLog:
        """Writes shards and vocabularies into the shared folder.

        Args:
            logs: The files of each log.
            wanted: Number of shards, or None.

        Returns:
            What is known of the log.
        """
        data, paths = self._data, [path for parts in logs.values() for path in parts]
        size = sum(beam_files.size(path) for path in paths)
        self._parts = min(_MOST_PARTITIONS, 1 + size // _PARTITION)
        source, files = self._read(logs, paths)
        whole = all(file["whole_times"] for file in files)
        events = EventFilter(data)
        begins = []
        for file in files:
            begins.append(events.events)
            events.add(file["filtered"])
        partitions, before, filtered, ids = self._filter_users(
            source, whole, begins, events.report()
        )
        kept, after = self._filter_items(partitions, before)
        copies = self._number(partitions, kept)
        bounds = None
        if data.split == "temporal":
            bounds = period(data.valid_from, data.test_from, self._times(partitions).quantile)
        partitioned = PartitionedLog(
            logs=[path.rpartition("/")[2] for path in paths],
            options={key: option(data, key) for key in OPTIONS},
            before=asdict(before),
            after=asdict(after),
            rejected=sum(file["rejected"] for file in files),
            whole_times=whole,
            shards=number_of_shards(wanted, after.events, after.users),
            period=bounds,
            selection=filtered.to_dict() if has_event_filters(data) else None,
            duplicates=copies if data.columns.event is not None else None,
            ids=ids.to_dict(),
        )
        self._write(partitions, partitioned)
        return partitioned

    def _read(self, logs: dict[str, list[str]], paths: list[str]) -> tuple[str, list[dict]]:
        """Reads the logs; returns the folder of the partitions, and what is known of each file."""
        name, files = "events-0", self._read_once("events-0", paths, None)
        times = LogTimes(
            {file["file"]: FileTimes(**file["times"]) for file in files if file["times"]}
        )
        try:
            times.require_one_kind()
        except MixedTimes:
            rules = {path: times.rule(path) for path in paths}
            name, files = "events-1", self._read_once("events-1", paths, rules)
        for log, parts in logs.items():
            own = [file for file in files if file["file"] in parts]
            if not any(file["filtered"]["events"] for file in own):
                raise DataError(no_interactions(log, sum(file["rejected"] for file in own)))
        return name, files

    def _read_once(
        self, name: str, paths: list[str], rules: dict[str, TimeRule] | None
    ) -> list[dict]:
        known = f"{self._folder(name)}-files"
        arguments = self._data, known, self._shared, self._parts, rules, __version__
        with self._engine.pipeline() as p:
            numbered = p | beam.Create(list(enumerate(paths))) | beam.Reshuffle()
            grouped = numbered | beam.FlatMap(transforms.read_log, *arguments) | beam.GroupByKey()
            _ = grouped | beam.Map(transforms.write_partition, self._folder(name))
        files = self._results(f"{name}-files", len(paths))
        files.sort(key=lambda file: paths.index(file["file"]))
        for file in files:
            if "error" in file:
                raise DataError(file["error"])
        return files

    def _filter_users(
        self, name: str, whole: bool, begins: list[int], filtered: EventFilterReport
    ) -> tuple[list[int], Statistics, EventFilterReport, IdReport]:
        """Drops copies, splits sessions and collapses repeats of all partitions.

        Returns:
            The partitions, their size, what all event filters did, and problems with the ids.
        """
        numbers, data = self._results(name), self._data
        each = transforms.FilterUsers(
            data, self._folder(name), self._folder("filtered"), whole, begins
        )
        with self._engine.pipeline() as p:
            items = self._each_partition(p, numbers, lambda *one: each(*one), self._parts)
            grouped = items | "By item" >> beam.GroupByKey()
            _ = grouped | beam.Map(transforms.write_item_sizes, self._folder("filtered-items"))
        users = self._results("filtered", len(numbers))
        items = self._results("filtered-items")

        def total(key: str, parts: list[dict]) -> int:
            return sum(part[key] for part in parts)

        size = Statistics(total("events", users), total("users", users), total("items", items))
        if data.duplicates == "drop":
            filtered = replace(filtered, duplicates=-total("duplicates", users))
        if data.session_gap is not None:
            filtered = replace(filtered, sessions=size.users)
        if data.repeats == "collapse":
            filtered = replace(filtered, repeats=-total("repeats", users))
        ids = [
            IdProblems.merged(IdProblems(**one["ids"]) for one in part) for part in (users, items)
        ]
        return numbers, size, filtered, IdReport(*ids)

    def _filter_items(
        self, partitions: list[int], before: Statistics
    ) -> tuple[list[str] | None, Statistics]:
        """Filters until every user and item has enough events.

        Returns:
            The files of the items that stay, or None for all of them, and the size of what stays.
        """
        least = self._data.min_user_events, self._data.min_item_events
        if max(least) <= 1:
            return None, before
        kept, items = None, before.items
        for first in count(0, _ROUNDS):
            turns = range(first, first + _ROUNDS)
            with self._engine.pipeline() as p:
                files = kept
                for turn in turns:
                    files = self._round(p, partitions, files, turn, least)
            for turn in turns:
                left = self._results(f"round-{turn}", len(partitions))
                events, users = (sum(one[key] for one in left) for key in ("events", "users"))
                if not events:
                    raise DataError(nothing_left(*least, before))
                found = self._results(f"kept-{turn}")
                earlier, items = items, sum(one["items"] for one in found)
                kept = [one["file"] for one in found]
                if items == earlier:
                    return kept, Statistics(events, users, items)
        raise AssertionError("the rounds do not end")

    def _round(
        self,
        p: beam.Pipeline,
        partitions: list[int],
        kept: list[str] | beam.PCollection | None,
        turn: int,
        least: tuple[int, int],
    ) -> beam.PCollection:
        """Adds a round of the frequency filter; returns the files of the items that stay."""
        if isinstance(kept, beam.PCollection):
            kept = beam.pvalue.AsList(kept)
        folders = self._folder("filtered"), self._folder(f"round-{turn}")
        arguments = kept, *folders, least[0], self._parts
        counts = self._each_partition(
            p, partitions, transforms.count_items, *arguments, name=f"Count {turn}"
        )
        grouped = counts | f"By item {turn}" >> beam.GroupByKey()
        return grouped | f"Keep {turn}" >> beam.Map(
            transforms.write_kept, self._folder(f"kept-{turn}"), least[1]
        )

    def _number(self, partitions: list[int], kept: list[str] | None) -> int:
        """Writes the events that stay and the vocabularies; returns the number of copies."""
        source, target = self._folder("filtered"), self._folder("kept")
        arguments = kept, source, target, self._data.min_user_events, self._parts
        with self._engine.pipeline() as p:
            found = self._each_partition(
                p, partitions, transforms.write_kept_events, *arguments, tags=("users",)
            )
            users = found["users"] | "All users" >> beam.GroupByKey()
            _ = users | beam.Map(
                transforms.write_users, f"{self._shared}/{USERS}", self._folder("rows")
            )
            items = found["main"] | "By item" >> beam.GroupByKey()
            first = items | beam.Map(transforms.first_places) | "All items" >> beam.GroupByKey()
            _ = first | beam.Map(
                transforms.write_items, f"{self._shared}/{ITEMS}", self._folder("items")
            )
        return sum(one["copies"] for one in self._results("kept", len(partitions)))

    def _write(self, partitions: list[int], log: PartitionedLog) -> None:
        """Writes the shards."""
        folders = self._folder("kept"), self._folder("rows"), self._folder("items")
        with self._engine.pipeline() as p:
            numbers = p | beam.Create(partitions) | beam.Reshuffle()
            split = numbers | beam.FlatMap(transforms.split_by_shard, *folders, log.shards)
            grouped = split | beam.GroupByKey()
            _ = grouped | beam.Map(transforms.write_one_shard, asdict(log), self._shared)

    def _each_partition(
        self,
        p: beam.Pipeline,
        partitions: list[int],
        function: Callable,
        *arguments: object,
        name: str = "Each partition",
        tags: tuple[str, ...] = (),
    ) -> beam.PCollection | beam.pvalue.DoOutputsTuple:
        """Applies a function to the numbers of all partitions."""
        numbers = p | f"{name}: numbers" >> beam.Create(partitions)
        spread = numbers | f"{name}: spread" >> beam.Reshuffle()
        each = beam.FlatMap(function, *arguments)
        return spread | name >> (each.with_outputs(*tags, main="main") if tags else each)

    def _folder(self, name: str) -> str:
        return f"{self._shared}/{name}"

    def _results(self, name: str, expected: int | None = None) -> list:
        """Reads the JSON files of a folder, of which there must be an expected number, or any."""
        results = beam_files.read_json(f"{self._shared}/{name}/*.json")
        if not results if expected is None else len(results) != expected:
            wanted = "the" if expected is None else expected
            raise DataError(
                f"{self._shared} must hold {wanted} results of the workers ({name}) but holds "
                f"{len(results)}: give --work a folder that the workers and this process share."
            )
        return results

    def _times(self, partitions: list[int]) -> ChunkedArray:
        """Returns the times of all events that stay."""

        def read(number: int) -> np.ndarray:
            path = f"{self._folder('kept')}/{number}"
            return beam_files.read_frame(path, ["timestamp"])["timestamp"].to_numpy()

        return ChunkedArray([lambda number=number: read(number) for number in partitions])
