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
    least = {"min_user_events": data.min_user_events, "min_item_events": data.min_item_events}
    sequences, report = prepare(frame, **least, known=known, sessions=data.session_gap is not None)
    if data.columns.timestamp is None:
        report = dataclasses.replace(report, duplicates=None)
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


def build_model(config: Config, users: Vocabulary, items: Vocabulary):
    """The model of a configuration, with the vocabularies that `recommend` needs."""
    cls = models.get(config.model.name)
    try:
        model = cls(len(users), len(items), config.data.max_length, **config.model.parameters)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model {config.model.name} refuses its parameters: {error}") from None
    model.user_vocabulary, model.item_vocabulary = users, items
    return model


def save_vocabularies(folder: Path, sequences: Sequences) -> None:
    (folder / "vocabulary").mkdir()
    sequences.user_vocabulary.save(folder / "vocabulary" / "users.txt")
    sequences.item_vocabulary.save(folder / "vocabulary" / "items.txt")


def load_vocabularies(folder: Path) -> tuple[Vocabulary, Vocabulary]:
    """The vocabularies of a run: of its users and of its items."""
    return Vocabulary.load(folder / "vocabulary" / "users.txt"), Vocabulary.load(folder / "vocabulary" / "items.txt")


def save_replay(folder: Path, split: Split) -> None:
    """Writes what an export of the run needs of its log: the training events of each item, and the held-out events in raw ids."""
    np.save(folder / ITEM_COUNTS, item_counts(split))
    for part in ("valid", "test"):
        save_replay_log(split, part, folder / f"{part}.parquet")


def load_config(folder: str | Path) -> Config:
    """The resolved configuration of a finished run.

    Errors: ConfigError when the folder is not one.
    """
    folder = Path(folder)
    if not (folder / METRICS).is_file():
        raise ConfigError(f"{folder} is not a finished run: it has no {METRICS}; give a folder that tfrec_attn.train has written.")
    return configuration.load(folder / CONFIG)


def load_model(folder: str | Path):
    """The trained model of a run, with its best weights and its vocabularies.

    >>> items, scores = load_model("runs/synthetic-attrec").recommend([["i3", "i7"]], k=10)
    """
    folder, config = Path(folder), load_config(folder)
    if not (folder / f"{BEST}.index").is_file():
        raise ConfigError(f"{folder} has lost its weights, {BEST}; train again.")
    model = build_model(config, *load_vocabularies(folder))
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
