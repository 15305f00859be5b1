"""The Apache Beam pipelines that prepare a log. This module needs Apache Beam."""

from dataclasses import asdict, replace
from functools import partial
from itertools import count

import apache_beam as beam
import numpy as np

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
from tfrec_attn.data.shards.order_statistics import Chunks, quantile
from tfrec_attn.data.shards.prepare_locally import no_interactions
from tfrec_attn.data.shards.prepared_log import ITEMS, OPTIONS, USERS, option
from tfrec_attn.data.shards.shard_files import number_of_shards
from tfrec_attn.errors import DataError
from tfrec_attn.runtime.beam_runner import Engine, package_version

_PARTITION = 1 << 24  # bytes of text
_TEXT_PER_BYTE = 6  # bytes of text per byte of a compressed file
_MOST_PARTITIONS = 1 << 12
_MOST_ROUNDS = 4  # rounds of the frequency filter in one pipeline


class BeamPipelines:
    """Runs the pipelines one after the other; each reads the files of the previous pipeline.

    Each pipeline writes partitions into its own folder in the shared folder, and descriptions for
    this process into JSON files there.

    Args:
        data: How to read, filter and split the log.
        shared: A folder that this process and the workers share.
        engine: Runs the pipelines.
    """

    def __init__(self, data: Data, shared: str, engine: Engine):
        self._data, self._shared, self._engine = data, shared, engine
        self._least = data.min_user_events, data.min_item_events
        self._rounds = _rounds(*self._least)
        self._parts = 1

    def run(self, logs: dict[str, list[str]], wanted: int | None) -> PartitionedLog:
        """Writes shards and vocabularies into the shared folder.

        Args:
            logs: The files of each log.
            wanted: Number of shards, or None.

        Returns:
            The description of the log.
        """
        data, paths = self._data, [path for parts in logs.values() for path in parts]
        size = sum(_bytes_of_text(path) for path in paths)
        self._parts = min(_MOST_PARTITIONS, 1 + size // _PARTITION)
        source, files = self._read(logs, paths)
        events, begins = EventFilter(data), []
        for file in files:
            begins.append(events.events)
            events.add(file["filtered"])
        whole, filtered = all(file["whole_times"] for file in files), events.report()
        partitions = sorted({one for file in files for one in file["partitions"]})
        sources = [f"{self._folder(source)}/{number}" for number in range(len(paths))]
        kept, after = self._filter(partitions, sources, whole, begins)
        before, filtered, ids = self._measured(partitions, filtered)
        if kept is None:
            after = before
        partitioned = PartitionedLog(
            logs=[path.rpartition("/")[2] for path in paths],
            options={key: option(data, key) for key in OPTIONS},
            before=asdict(before),
            after=asdict(after),
            rejected=sum(file["rejected"] for file in files),
            whole_times=whole,
            shards=number_of_shards(wanted, after.events, after.users),
            period=None,
            selection=filtered.to_dict() if has_event_filters(data) else None,
            ids=ids.to_dict(),
        )
        # Without a minimum of events per item, all items of the events that stay also stay.
        return self._write(partitions, kept if data.min_item_events > 1 else None, partitioned)

    def _read(self, logs: dict[str, list[str]], paths: list[str]) -> tuple[str, list[dict]]:
        """Reads the logs, and returns the folder of the events and a description of each file."""
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
            if not any(file["filtered"]["numbers"].get("events") for file in own):
                raise DataError(no_interactions(log, sum(file["rejected"] for file in own)))
        return name, files

    def _read_once(
        self, name: str, paths: list[str], rules: dict[str, TimeRule] | None
    ) -> list[dict]:
        arguments = self._data, self._folder(name), self._shared, self._parts, rules
        with self._engine.pipeline() as p:
            numbered = p | beam.Create(list(enumerate(paths))) | beam.Reshuffle()
            _ = numbered | beam.Map(transforms.read_log, *arguments, package_version())
        files = self._results(name, len(paths))
        files.sort(key=lambda file: paths.index(file["file"]))
        for file in files:
            if "error" in file:
                raise DataError(file["error"])
        return files

    def _filter(
        self, partitions: list[int], sources: list[str], whole: bool, begins: list[int]
    ) -> tuple[list[str] | None, Statistics | None]:
        """Applies the filters of users, then drops users and items with too few events.

        Returns:
            The files of the items that stay, and the size of the log that stays; None and None if
            everything stays.
        """
        kept = None
        for first in count(0, _MOST_ROUNDS):
            turns = range(first, first + self._rounds)
            with self._engine.pipeline() as p:
                numbers = p | beam.Create(partitions) | beam.Reshuffle()
                if first == 0:
                    numbers = self._filter_users(numbers, sources, whole, begins)
                files = kept
                for turn in turns:
                    files = self._round(numbers, files, turn)
            for turn in turns:
                kept, left, is_last = self._round_result(turn, len(partitions))
                if is_last or turn + 1 == self._rounds < _MOST_ROUNDS:
                    return kept, left
            if not self._rounds:
                return None, None
        raise AssertionError("the rounds do not end")

    def _filter_users(
        self, numbers: beam.PCollection, sources: list[str], whole: bool, begins: list[int]
    ) -> beam.PCollection:
        """Adds the filters of users, and returns the numbers of the filtered partitions."""
        arguments = self._data, sources, self._folder("filtered"), whole, begins, self._parts
        found = numbers | beam.FlatMap(transforms.filter_users, *arguments).with_outputs(
            "filtered", main="items"
        )
        items = found["items"] | "By item" >> beam.GroupByKey()
        _ = items | beam.Map(transforms.write_item_sizes, self._folder("sizes"))
        return found["filtered"] | "Filtered" >> beam.Reshuffle()

    def _round(
        self, numbers: beam.PCollection, kept: list[str] | beam.PCollection | None, turn: int
    ) -> beam.PCollection:
        """Adds a round of the frequency filter, and returns the files of the items that stay."""
        if isinstance(kept, beam.PCollection):
            kept = beam.pvalue.AsList(kept)
        users, items = self._least
        arguments = kept, self._folder("filtered"), self._folder(f"round-{turn}"), users
        counts = numbers | f"Count {turn}" >> beam.FlatMap(
            transforms.count_items, *arguments, self._parts
        )
        grouped = counts | f"By item {turn}" >> beam.GroupByKey()
        return grouped | f"Keep {turn}" >> beam.Map(
            transforms.write_kept, self._folder(f"kept-{turn}"), items
        )

    def _round_result(
        self, turn: int, partitions: int
    ) -> tuple[list[str], Statistics | None, bool]:
        """Returns the files of the items that stay, the size left, and whether no item was lost."""
        left = self._results(f"round-{turn}", partitions)
        events, users = (sum(one[key] for one in left) for key in ("events", "users"))
        if not events:
            raise DataError(nothing_left(*self._least, self._before(partitions)))
        kept = self._results(f"kept-{turn}")
        earlier = self._results(f"kept-{turn - 1}" if turn else "sizes")
        items, before = (sum(one["items"] for one in found) for found in (kept, earlier))
        files = [one["file"] for one in kept]
        return files, Statistics(events, users, items), items == before

    def _before(self, partitions: int) -> Statistics:
        """Returns the size of the log before the frequency filter."""
        users, items = self._results("filtered", partitions), self._results("sizes")
        events, owners = (sum(one[key] for one in users) for key in ("events", "users"))
        return Statistics(events, owners, sum(one["items"] for one in items))

    def _measured(
        self, partitions: list[int], filtered: EventFilterReport
    ) -> tuple[Statistics, EventFilterReport, IdReport]:
        """Returns the size before the frequency filter, and the reports on filters and ids."""
        before = self._before(len(partitions))
        users, items = self._results("filtered"), self._results("sizes")
        found = [one["filtered"] for one in users]
        filtered = replace(filtered, **{key: sum(one[key] for one in found) for key in found[0]})
        ids = (
            IdProblems.merged(IdProblems(**one["ids"]) for one in part) for part in (users, items)
        )
        return before, filtered, IdReport(*ids)

    def _write(
        self, partitions: list[int], kept: list[str] | None, log: PartitionedLog
    ) -> PartitionedLog:
        """Writes the vocabularies and the shards, and returns the completed description of the log.

        The points in time of a temporal split need the times of all events that stay. For this
        split, a second pipeline therefore writes the shards.
        """
        data = self._data
        with self._engine.pipeline() as p:
            numbers, *tables = self._number(p, partitions, kept)
            if data.split != "temporal":
                self._write_shards(numbers, log, *map(beam.pvalue.AsSingleton, tables))
        if data.split == "temporal":
            times = partial(quantile, self._times(partitions))
            bounds = period(data.valid_from, data.test_from, times)
            log = replace(log, period=bounds)
            with self._engine.pipeline() as p:
                numbers = p | beam.Create(partitions) | beam.Reshuffle()
                self._write_shards(numbers, log, self._folder("rows"), self._folder("items"))
        if data.columns.event is not None:
            found = self._results("kept", len(partitions))
            log = replace(log, duplicates=sum(one["copies"] for one in found))
        return log

    def _number(
        self, p: beam.Pipeline, partitions: list[int], kept: list[str] | None
    ) -> tuple[beam.PCollection, beam.PCollection, beam.PCollection]:
        """Adds the writing of the events that stay and of the vocabularies.

        Returns:
            The numbers of the partitions, the folder of the users' rows, and the file of the items'
            indices.
        """
        arguments = kept, self._folder("filtered"), self._folder("kept"), self._least[0]
        spread = p | beam.Create(partitions) | beam.Reshuffle()
        found = spread | beam.FlatMap(
            transforms.write_kept_events, *arguments, self._parts
        ).with_outputs("users", "kept", main="items")
        users = found["users"] | "All users" >> beam.GroupByKey()
        rows = users | beam.Map(
            transforms.write_users, f"{self._shared}/{USERS}", self._folder("rows")
        )
        items = found["items"] | "By item" >> beam.GroupByKey()
        first = items | beam.Map(transforms.first_places) | "All items" >> beam.GroupByKey()
        table = first | beam.Map(
            transforms.write_items, f"{self._shared}/{ITEMS}", self._folder("items")
        )
        return found["kept"] | "Kept" >> beam.Reshuffle(), rows, table

    def _write_shards(
        self,
        numbers: beam.PCollection,
        log: PartitionedLog,
        rows: str | beam.pvalue.AsSingleton,
        items: str | beam.pvalue.AsSingleton,
    ) -> None:
        """Adds the writing of the shards; `rows` is a folder and `items` a file of indices."""
        arguments = self._folder("kept"), rows, items, self._folder("split"), log.shards
        split = numbers | "Split" >> beam.FlatMap(transforms.split_by_shard, *arguments)
        each = numbers.pipeline | "Shards" >> beam.Create(range(log.shards))
        shards = each | "Spread shards" >> beam.Reshuffle()
        files = beam.pvalue.AsList(split)
        _ = shards | beam.Map(transforms.write_one_shard, files, asdict(log), self._shared)

    def _folder(self, name: str) -> str:
        return f"{self._shared}/{name}"

    def _results(self, name: str, expected: int | None = None) -> list:
        """Reads the JSON files of a folder, and checks their number; None: at least one."""
        results = beam_files.read_json(f"{self._shared}/{name}/*.json")
        if not results if expected is None else len(results) != expected:
            wanted = "the" if expected is None else expected
            raise DataError(
                f"{self._shared} must hold {wanted} results of the workers ({name}) but holds "
                f"{len(results)}: give --work a folder that the workers and this process share."
            )
        return results

    def _times(self, partitions: list[int]) -> Chunks:
        """Returns the times of all events that stay."""

        def read(number: int) -> np.ndarray:
            path = f"{self._folder('kept')}/{number}"
            return beam_files.read_frame(path, ["timestamp"])["timestamp"].to_numpy()

        return [partial(read, number) for number in partitions]


def _rounds(users: int, items: int) -> int:
    """Returns the number of rounds of the frequency filter in a pipeline.

    A minimum for users alone takes one round. A minimum for items alone takes two, the second of
    which counts what is left. With both minimums, rounds follow until nothing changes.
    """
    if max(users, items) <= 1:
        return 0
    if items <= 1:
        return 1
    return 2 if users <= 1 else _MOST_ROUNDS


def _bytes_of_text(path: str) -> int:
    """Returns the approximate size of a file as text, in bytes."""
    compressed = path.endswith((".gz", ".zst", ".parquet"))
    return beam_files.size(path) * (_TEXT_PER_BYTE if compressed else 1)
