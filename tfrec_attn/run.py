"""A run directory: what it holds, and how data and model are made again from it."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.data import catalog
from tfrec_attn.data.preparation import Report, Sequences, prepare
from tfrec_attn.data.replay_log import item_counts, replay_log
from tfrec_attn.data.splits import Split, make_split
from tfrec_attn.data.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError, DataError

CONFIG = "config.yaml"
METRICS = "metrics.json"
BEST = "checkpoints/best"
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


def prepare_data(config: Config, rejected: Path | None = None) -> PreparedData:
    """Reads, filters and splits the log that a configuration names.

    Args:
      config: its section `data` counts.
      rejected: where to write bad lines when data.on_error is skip.

    Errors: DataError and ConfigError as the readers and splits say.
    """
    data = config.data
    options = {} if data.source == "synthetic" else {
        "format": data.format,
        "names": data.names,
        "columns": dataclasses.asdict(data.columns),
        "on_error": data.on_error,
        "rejected": rejected,
    }  # fmt: skip
    result = catalog.load(data.source, path=data.path, events=data.events, seed=data.seed, **options)
    sequences, report = prepare(result.frame, min_user_events=data.min_user_events, min_item_events=data.min_item_events)
    split = make_split(sequences, data.split, valid_from=data.valid_from, test_from=data.test_from)
    longest = int(sequences.lengths.max())
    for key in ("max_length", "targets"):
        if getattr(data, key) >= longest:
            raise ConfigError(f"data.{key} must be less than the longest history, {longest} events, but is {getattr(data, key)}.")
    return PreparedData(split, report, result.rejected)


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


def save_replay(folder: Path, split: Split) -> None:
    """Writes what an export of the run needs of its log: the training events of each item, and the held-out events in raw ids."""
    np.save(folder / ITEM_COUNTS, item_counts(split))
    for part in ("valid", "test"):
        replay_log(split, part).write_parquet(folder / f"{part}.parquet")


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
    users, items = (Vocabulary.load(folder / "vocabulary" / f"{kind}.txt") for kind in ("users", "items"))
    model = build_model(config, users, items)
    try:
        # The checkpoint may hold more, such as the state of an optimizer, but must have every variable of the model.
        model.load_weights(str(folder / BEST)).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError):
        raise ConfigError(f"the weights in {folder} are of another model than its {CONFIG} describes; train again.") from None
    return model


def load_data(folder: str | Path) -> PreparedData:
    """The data of a run, read again.

    Errors: DataError when the log has changed so that its users or items are not those of the run.
    """
    folder, config = Path(folder), load_config(folder)
    data = prepare_data(config)
    for kind in ("users", "items"):
        saved = Vocabulary.load(folder / "vocabulary" / f"{kind}.txt")
        if saved != getattr(data.sequences, f"{kind[:-1]}_vocabulary"):
            log = config.data.path or config.data.source
            raise DataError(f"The {kind} of {log} are not those that {folder} was trained on; train again.")
    return data


def write_json(path: Path, tree: dict) -> None:
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
