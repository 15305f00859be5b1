"""The description of a prepared log, while it is written and in its `manifest.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tfrec_attn.data.sequences.event_filters import EventFilterReport
from tfrec_attn.data.sequences.filter_report import FilterReport, Statistics
from tfrec_attn.data.sequences.ids import IdReport
from tfrec_attn.errors import DataError
from tfrec_attn.files.checksums import file_sha256
from tfrec_attn.files.writing import replace_text

MANIFEST = "manifest.json"
FORMAT = "tfrec-attn prepared log"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FilteredLog:
    """The description of a log after its events are filtered.

    Attributes:
        logs: Names of the files of the log.
        options: Key of the section `data` that affects the result -> its value.
        before: Numbers of events, users and items before the frequency filter.
        after: Numbers of events, users and items after the frequency filter.
        rejected: Number of lines that could not be read.
        selection: Report of the event filters, as `EventFilterReport.to_dict`, or None if there are
            no filters.
        duplicates: Number of events after the filter that are copies of another event. None if the
            log has no times, or if the copies are counted later, in the shards.
        ids: Problems with the ids, as `IdReport.to_dict`.
        whole_times: Whether the times are int64, not float64.
    """

    logs: list[str]
    options: dict[str, object]
    before: dict[str, int]
    after: dict[str, int]
    rejected: int
    selection: dict[str, object] | None = None
    duplicates: int | None = None
    ids: dict[str, dict]
    whole_times: bool


@dataclass(frozen=True, kw_only=True)
class PartitionedLog(FilteredLog):
    """The description of a log after its events are partitioned into shards.

    Attributes:
        shards: Number of shards.
        period: The two points in time of a temporal split, or None.
    """

    shards: int
    period: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Manifest(FilteredLog):
    """The content of `manifest.json`, without its format and version.

    Attributes:
        train: Number of training events.
        valid: Number of validation events.
        test: Number of test events.
        leaks: What training knows of the time after the test events, as `LeakReport`.
        shards: Names of the shards, in order.
        sizes: Name of a file, except the manifest -> its size in bytes.
        sha256: Name of a file, except the manifest -> its SHA-256.
    """

    train: int
    valid: int
    test: int
    leaks: dict[str, float]
    shards: list[str]
    sizes: dict[str, int]
    sha256: dict[str, str]

    def report(self) -> FilterReport:
        """Returns the report of the event filters and the frequency filter."""
        before, after = Statistics(**self.before), Statistics(**self.after)
        least = self.options["min_user_events"], self.options["min_item_events"]
        selection = None if self.selection is None else EventFilterReport(**self.selection)
        ids = IdReport.from_dict(self.ids)
        return FilterReport(before, after, *least, selection, self.duplicates, ids)

    def write(self, folder: Path) -> None:
        """Writes `manifest.json`, which gets its name only when it is complete."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=2) + "\n"
        replace_text(folder / MANIFEST, text)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Reads the manifest of a folder.

        Raises:
            DataError: If there is no manifest, if it is damaged, or if it has another version.
        """
        path = folder / MANIFEST
        remedy = "give a folder that tfrec_attn.data.prepare has finished"
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; {remedy}.") from error
        except ValueError as error:
            raise DataError(f"{path} is not JSON ({error}): prepare the log again.") from error
        if not isinstance(tree, dict) or tree.pop("format", None) != FORMAT:
            raise DataError(f"{path} is not the manifest of a prepared log: {remedy}.")
        version = tree.pop("version", None)
        if version != VERSION:
            raise DataError(
                f"{folder} was prepared in version {version} of the format, expected {VERSION}: "
                "prepare the log again."
            )
        try:
            return cls(**tree)
        except TypeError:
            raise DataError(
                f"{path} does not hold the keys of version {VERSION}: prepare the log again."
            ) from None

    def check(self, folder: Path) -> None:
        """Checks the size and the checksum of every file.

        Raises:
            DataError: If a file is missing or has changed.
        """
        for name, size in self.sizes.items():
            path = folder / name
            if not path.is_file():
                raise DataError(f"{path} is missing: prepare the log again.")
            if path.stat().st_size != size:
                raise DataError(
                    f"{path} has {path.stat().st_size} bytes, expected {size}: "
                    "prepare the log again."
                )
        for name, expected in self.sha256.items():
            if file_sha256(folder / name) != expected:
                raise DataError(
                    f"{folder / name} is damaged, its SHA-256 is not that of {MANIFEST}: "
                    "prepare the log again."
                )
