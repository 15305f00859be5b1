"""A run directory: what it holds, and how data and model are made again from it."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.data import catalog, prepared, tfdv
from tfrec_attn.data.preparation import Report, Sequences, prepare
from tfrec_attn.data.replay_log import checksum, item_counts, save_replay_log
from tfrec_attn.data.selection import has_conditions, select
from tfrec_attn.data.splits import Split, make_split
from tfrec_attn.data.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runtime import import_tensorflow

CONFIG = "config.yaml"
METRICS = "metrics.json"
BEST = "checkpoints/best"
STATES = "checkpoints/last-"
REJECTED = "rejected.tsv"
ITEM_COUNTS = "vocabulary/item_counts.npy"
# How a run was computed plays no part in reading it, and may no longer be possible.
_READ_BY_ONE_DEVICE = ("runtime.strategy=default", "runtime.devices=null", "runtime.jit=false")


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """A log, filtered, indexed and split."""

    split: Split
    report: Report
    rejected: int

    @property
    def sequences(self) -> Sequences:
        return self.split.sequences


def prepare_data(
    config: Config, rejected: Path | None = None, known: tuple[Vocabulary, Vocabulary] | None = None, schema: bool = False
) -> PreparedData:
    """Reads, filters and splits the log that a configuration names.

    Args:
      config: its section `data` counts.
      rejected: where to write bad lines when data.on_error is skip.
      known: vocabularies of users and items to go on from, or None.
      schema: whether to refuse a log that breaks data.schema.

    Errors: DataError and ConfigError as the readers and splits say.
    """
    data = config.data
    if prepared.is_folder(data.source):
        return _check_lengths(config, _open_prepared(config, known))
    result = catalog.load_configured(data, rejected)
    if schema and data.schema is not None:
        tfdv.refuse_anomalies(result.frame, data.schema)
    frame, selection = select(result.frame, data) if has_conditions(data) else (result.frame, None)
    sequences, report = prepare(frame, min_user_events=data.min_user_events, min_item_events=data.min_item_events, known=known)
    split = make_split(sequences, data.split, valid_from=data.valid_from, test_from=data.test_from)
    return _check_lengths(config, PreparedData(split, dataclasses.replace(report, selection=selection), result.rejected))


def _open_prepared(config: Config, known: tuple[Vocabulary, Vocabulary] | None) -> PreparedData:
    if known is not None:
        raise ConfigError("train.warm_start needs a log, because it gives the ids of the run their indices; set data.source=file.")
    log = prepared.open_source(config.data)
    import_tensorflow()
    if prepared.fits(config.data, log):
        return PreparedData(log.load(), log.report(), log.manifest.rejected)
    from tfrec_attn.data.sharded_split import ShardedSplit

    return PreparedData(ShardedSplit.open(log), log.report(), log.manifest.rejected)


def _check_lengths(config: Config, data: PreparedData) -> PreparedData:
    longest = int(data.sequences.lengths.max())
    for key in ("max_length", "targets"):
        value = getattr(config.data, key)
        if value >= longest:
            raise ConfigError(f"data.{key} must be less than the longest history, {longest} events, but is {value}.")
    return data


def build_model(config: Config, users: Vocabulary, items: Vocabulary, counts: np.ndarray | None = None):
    """Returns the model of a configuration, with all that `recommend` needs.

    Args:
        config: With `evaluate.repeats` set.
        users: Vocabulary of the users.
        items: Vocabulary of the items.
        counts: Training events of each item, [N]; with None an empty history is the model's to answer.
    """
    import tensorflow as tf

    cls = models.get(config.model.name)
    try:
        model = cls(len(users), len(items), config.data.max_length, **config.model.parameters)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model {config.model.name} refuses its parameters: {error}") from None
    except tf.errors.ResourceExhaustedError:
        size = f"{len(users)} users, {len(items)} items and these parameters"
        raise ConfigError(f"model {config.model.name} with {size} does not fit into the memory; lower model.dim.") from None
    model.user_vocabulary, model.item_vocabulary = users, items
    model.repeats = config.evaluate.repeats or model.repeats
    if counts is not None:
        model.popularity = (counts / max(counts.sum(), 1)).astype(np.float32)
    return model


def save_vocabularies(folder: Path, sequences: Sequences) -> None:
    (folder / "vocabulary").mkdir()
    sequences.user_vocabulary.save(folder / "vocabulary" / "users.txt")
    sequences.item_vocabulary.save(folder / "vocabulary" / "items.txt")


def load_vocabularies(folder: Path) -> tuple[Vocabulary, Vocabulary]:
    """The vocabularies of a run: of its users and of its items."""
    return Vocabulary.load(folder / "vocabulary" / "users.txt"), Vocabulary.load(folder / "vocabulary" / "items.txt")


def load_item_counts(folder: Path) -> np.ndarray:
    """Returns the training events of each item of a run, [N].

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    path = folder / ITEM_COUNTS
    try:
        counts = np.load(path)
    except FileNotFoundError:
        raise ConfigError(f"{folder} has no {ITEM_COUNTS}, which trainings of earlier versions did not write; train again.") from None
    except (OSError, ValueError):
        raise ConfigError(f"{path} cannot be read; train again.") from None
    items = len(load_vocabularies(folder)[1])
    if counts.shape != (items,):
        raise ConfigError(f"{path} must have one number for each of {items} items, but has the shape {counts.shape}; train again.")
    return counts


def save_replay(folder: Path, split: Split) -> None:
    """Writes what an export of the run needs of its log: the training events of each item, and the held-out events in raw ids."""
    np.save(folder / ITEM_COUNTS, item_counts(split))
    for part in ("valid", "test"):
        save_replay_log(split, part, folder / f"{part}.parquet")


def load_config(folder: str | Path) -> Config:
    """The resolved configuration of a finished run, to be read on one device.

    Errors: ConfigError when the folder is not one.
    """
    folder = Path(folder)
    if not (folder / METRICS).is_file():
        raise ConfigError(f"{folder} is not a finished run: it has no {METRICS}; give a folder that tfrec_attn.train has written.")
    config = configuration.load(folder / CONFIG, _READ_BY_ONE_DEVICE)
    if config.evaluate.repeats is None:
        rule = json.loads((folder / METRICS).read_text(encoding="utf-8")).get("protocol", {}).get("repeats", "exclude")
        config = dataclasses.replace(config, evaluate=dataclasses.replace(config.evaluate, repeats=rule))
    return config


def load_model(folder: str | Path):
    """The trained model of a run, with its best weights and its vocabularies.

    >>> items, scores = load_model("runs/synthetic-attrec").recommend([["i3", "i7"]], k=10)
    """
    folder, config = Path(folder), load_config(folder)
    if not (folder / f"{BEST}.index").is_file():
        raise ConfigError(f"{folder} has lost its weights, {BEST}; train again.")
    model = build_model(config, *load_vocabularies(folder), load_item_counts(folder))
    try:
        # The checkpoint may hold more, such as the state of an optimizer, but must have every variable of the model.
        model.load_weights(str(folder / BEST)).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError):
        raise ConfigError(f"the weights in {folder} are of another model than its {CONFIG} describes; train again.") from None
    return model


def load_data(folder: str | Path) -> PreparedData:
    """The data of a run, read again.

    Errors: DataError when the log has changed so that its users or items are not those of the run; after a warm start, whose
      vocabularies also hold ids that the log never had, when it has changed at all.
    """
    folder, config = Path(folder), load_config(folder)
    saved, log = load_vocabularies(folder), config.data.path or config.data.source
    data = prepare_data(config, known=saved if config.train.warm_start else None)
    for kind, vocabulary in zip(("user", "item"), saved, strict=True):
        if vocabulary != getattr(data.sequences, f"{kind}_vocabulary"):
            raise DataError(f"The {kind}s of {log} are not those that {folder} was trained on; train again.")
    if config.train.warm_start and checksum(data.sequences) != json.loads((folder / METRICS).read_text(encoding="utf-8"))["data"]["sha256"]:
        raise DataError(f"The events of {log} are not those that {folder} was trained on; train again.")
    return data


def write_json(path: Path, tree: dict) -> None:
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
