"""The files of a run directory: their names and checksums; writes and reads them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.held_out_log import save_held_out_log
from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.data.sequences.trained_rows import TrainedRows
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.files import checksums
from tfrec_attn.files.writing import save_array
from tfrec_attn.replay.measured_run import check_files, not_written, read_report, repeats_of

CONFIG = "config.yaml"
METRICS = "metrics.json"
REJECTED = "rejected.tsv"
RANKS = "ranks.npz"
BEST = "checkpoints/best"
STATES = "checkpoints/last-"
# Patterns of the files of a checkpoint, with those that exist only while it is written.
STATE_FILES = ("weights.*", "weights_temp/*", "best.*", "progress.json", "SHA256SUMS", "checkpoint")
USERS, ITEMS = "vocabulary/users.txt", "vocabulary/items.txt"
ITEM_COUNTS = "vocabulary/item_counts.npy"
ITEM_TABLE = "items.parquet"
TRAINED = TrainedRows("vocabulary/trained_users.npy", "vocabulary/trained_items.npy")
# The devices of the training may not exist on this machine, and reading a run needs one device.
_ONE_DEVICE = ("runtime.strategy=default", "runtime.devices=null")


def seal(folder: Path) -> None:
    """Writes the checksums of all files that the program reads from a finished run.

    Raises:
        OSError: If a file cannot be read, or the disk is full.
    """
    weights = sorted(str(path.relative_to(folder)) for path in folder.glob(f"{BEST}.*"))
    events = [kept_events_file(folder, part).name for part in ("valid", "test")]
    names = [CONFIG, METRICS, RANKS, USERS, ITEMS, ITEM_COUNTS, *TRAINED, *weights, *events]
    names += [ITEM_TABLE] if (folder / ITEM_TABLE).exists() else []
    checksums.seal(folder, names)


def load_config(folder: str | Path) -> Config:
    """Returns the resolved configuration of a finished run, changed to one device.

    Raises:
        ConfigError: If the folder is not a finished run, or is damaged.
    """
    folder = Path(folder)
    if not any((folder / name).is_file() for name in (METRICS, checksums.SUMS)):
        raise ConfigError(
            f"{folder} is not a finished run: it has no {METRICS}; "
            "give a folder that tfrec_attn.train has written."
        )
    check_files(folder, CONFIG, METRICS)
    config = configuration.load(folder / CONFIG, _ONE_DEVICE)
    if config.evaluate.repeats is None:
        evaluate = dataclasses.replace(config.evaluate, repeats=repeats_of(load_metrics(folder)))
        config = dataclasses.replace(config, evaluate=evaluate)
    return config


def load_metrics(folder: Path) -> dict[str, Any]:
    """Returns the content of `metrics.json` of a finished run.

    Raises:
        ConfigError: If the file is damaged.
    """
    return read_report(folder, {"valid": {"*": 0}, "test": {"*": 0}})


def save_vocabularies(folder: Path, sequences: Sequences) -> None:
    """Writes the vocabularies of users and items."""
    (folder / "vocabulary").mkdir(exist_ok=True)
    sequences.user_vocabulary.save(folder / USERS)
    sequences.item_vocabulary.save(folder / ITEMS)


def load_vocabularies(folder: Path) -> tuple[Vocabulary, Vocabulary]:
    """Returns the vocabularies of users and items of a run.

    Raises:
        ConfigError: If a file is missing or not what the training wrote.
        DataError: If a vocabulary is damaged.
    """
    check_files(folder, USERS, ITEMS)
    return Vocabulary.load(folder / USERS), Vocabulary.load(folder / ITEMS)


def save_replay(folder: Path, split: Split, gaps: bool = False) -> None:
    """Writes the training events of each item, and the held-out events in raw ids.

    Args:
        folder: The run.
        split: Data of the run.
        gaps: Whether to write the times since the latest events too (default: False).
    """
    save_array(folder / ITEM_COUNTS, item_counts(split))
    for part in ("valid", "test"):
        save_held_out_log(split, part, kept_events_file(folder, part), gaps)


def kept_events_file(folder: Path, part: str) -> Path:
    """Returns the Parquet file with the held-out events of "valid" or "test" in raw ids."""
    return folder / f"{part}.parquet"


def save_ranks(folder: Path, ranks: dict[str, np.ndarray], test_users: np.ndarray) -> None:
    """Writes ranks for `load_ranks`.

    Args:
        folder: The run.
        ranks: Ranks by name, as `load_ranks` returns them.
        test_users: Row of the user of each test event, int [U].
    """
    np.savez(folder / RANKS, **ranks, test_users=test_users.astype(np.int32))


def load_ranks(folder: Path) -> dict[str, np.ndarray]:
    """Returns the ranks of the held-out events of a run, in the order of its split.

    Returns:
        Arrays int32 [U] by name: the ranks "valid" and "test"; with a transition prior also
        "valid_alone" and "test_alone", the ranks of the model without it; and "test_users", the row
        of the user of each test event.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    check_files(folder, RANKS)
    try:
        with np.load(folder / RANKS) as arrays:
            return {name: arrays[name] for name in arrays}
    except FileNotFoundError:
        raise not_written(folder, RANKS) from None
    except Exception:
        # A damaged archive can raise nearly any exception.
        raise ConfigError(f"{folder / RANKS} cannot be read; train again.") from None


def load_item_counts(folder: Path) -> np.ndarray:
    """Returns the number of training events of each item of a run, [N].

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    path, items = folder / ITEM_COUNTS, len(load_vocabularies(folder)[1])
    check_files(folder, ITEM_COUNTS)
    if not path.exists():
        raise not_written(folder, ITEM_COUNTS)
    counts = _load_array(path)
    if counts.shape != (items,):
        raise ConfigError(
            f"{path} must have one number for each of {items} items, "
            f"but has the shape {counts.shape}; train again."
        )
    if counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ConfigError(
            f"{path} must have whole numbers of 0 or more, but has others; train again."
        )
    return counts


def save_trained_rows(folder: Path, rows: TrainedRows) -> None:
    """Writes which users and items are trained."""
    for name, values in zip(TRAINED, rows, strict=True):
        save_array(folder / name, values)


def load_trained_rows(folder: Path) -> TrainedRows:
    """Returns which users and items of a run are trained.

    Raises:
        ConfigError: If a file is missing or damaged.
    """
    sizes = map(len, load_vocabularies(folder))
    files = zip(TRAINED, sizes, strict=True)
    return TrainedRows(*(read_trained(folder, name, size) for name, size in files))


def read_trained(folder: Path, name: str, rows: int) -> np.ndarray:
    """Returns which rows of a table are trained, bool [R].

    Args:
        folder: The run.
        name: Path of the file in the run.
        rows: R, the number of rows of the table.

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    path = folder / name
    check_files(folder, name)
    trained = _load_array(path)
    if (trained.shape, trained.dtype.kind) != ((rows,), "b"):
        raise ConfigError(
            f"{path} must say of each of {rows} rows whether it is trained, "
            f"but has the shape {trained.shape}; train again."
        )
    return trained


def _load_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path)
        array.shape  # noqa: B018 - an archive has no shape
        return array
    except Exception:
        # A damaged header can raise nearly any exception.
        raise ConfigError(f"{path} cannot be read; train again.") from None


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """Writes a JSON file with an indentation of two spaces."""
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
