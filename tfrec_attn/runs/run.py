"""A run directory: what it holds, and how data and model are made again from it."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.data.quality import tfdv
from tfrec_attn.data.reading import catalog
from tfrec_attn.data.sequences.preparation import Report, Sequences, prepare
from tfrec_attn.data.sequences.replay_log import item_counts, save_replay_log
from tfrec_attn.data.sequences.selection import has_conditions, select
from tfrec_attn.data.sequences.splits import Split, make_split
from tfrec_attn.data.sequences.trained_rows import TrainedRows
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards import prepared
from tfrec_attn.errors import ConfigError
from tfrec_attn.files import checksums
from tfrec_attn.files.writing import save_array
from tfrec_attn.runs import run_files
from tfrec_attn.runtime.process import import_tensorflow

CONFIG = "config.yaml"
METRICS = "metrics.json"
BEST = "checkpoints/best"
STATES = "checkpoints/last-"
# What a checkpoint has beside the weights of the model.
_OF_TRAINING = ("optimizer/", "save_counter/", "_loss_metric/", "_ranking_metrics/")
REJECTED = "rejected.tsv"
ITEM_COUNTS = "vocabulary/item_counts.npy"
TRAINED = TrainedRows("vocabulary/trained_users.npy", "vocabulary/trained_items.npy")
# How a run was computed plays no part in reading it, and may no longer be possible.
_READ_BY_ONE_DEVICE = ("runtime.strategy=default", "runtime.devices=null", "runtime.jit=false")
USERS, ITEMS = "vocabulary/users.txt", "vocabulary/items.txt"


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
    config: Config,
    rejected: Path | None = None,
    known: tuple[Vocabulary, Vocabulary] | None = None,
    schema: bool = False,
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
    return _check_lengths(
        config,
        PreparedData(split, dataclasses.replace(report, selection=selection), result.rejected),
    )


def _open_prepared(config: Config, known: tuple[Vocabulary, Vocabulary] | None) -> PreparedData:
    if known is not None:
        raise ConfigError(
            "train.warm_start needs a log, because it gives the ids of the run their indices; set data.source=file."
        )
    log = prepared.open_source(config.data)
    import_tensorflow()
    if prepared.fits(config.data, log):
        return PreparedData(log.load(), log.report(), log.manifest.rejected)
    from tfrec_attn.data.shards.sharded_split import ShardedSplit

    return PreparedData(ShardedSplit.open(log), log.report(), log.manifest.rejected)


def _check_lengths(config: Config, data: PreparedData) -> PreparedData:
    longest = int(data.sequences.lengths.max())
    # A history may be shorter than the model looks back; far shorter ones come of a mistake.
    for key, most, times in (("max_length", 10 * longest, "ten times "), ("targets", longest, "")):
        value = getattr(config.data, key)
        if value >= most:
            raise ConfigError(
                f"data.{key} must be less than {times}the longest history, {longest} events, but is {value}."
            )
    return data


def build_model(
    config: Config,
    users: Vocabulary,
    items: Vocabulary,
    counts: np.ndarray | None = None,
    trained: TrainedRows | None = None,
):
    """Returns the model of a configuration, with all that `recommend` needs.

    Args:
        config: With `evaluate.repeats` set.
        users: Vocabulary of the users.
        items: Vocabulary of the items.
        counts: Training events of each item, [N]; with None an empty history is the model's to
            answer.
        trained: What training touches; None: everything.
    """
    import tensorflow as tf

    cls = models.get(config.model.name)
    try:
        model = cls(len(users), len(items), config.data.max_length, **config.model.parameters)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model {config.model.name} refuses its parameters: {error}") from None
    except tf.errors.ResourceExhaustedError:
        size = f"{len(users)} users, {len(items)} items and these parameters"
        raise ConfigError(
            f"model {config.model.name} with {size} does not fit into the memory; lower model.dim."
        ) from None
    if models.is_foreign(config.model.name):
        _require_built(model, config.model.name)
    model.set_vocabularies(items, users)
    model.repeats = config.evaluate.repeats or model.repeats
    if counts is not None:
        model.popularity = (counts / max(counts.sum(), 1)).astype(np.float32)
    if trained is not None:
        model.trained_users, model.trained_items = (
            None if rows.all() else rows for rows in trained
        )
    return model


def _require_built(model, name: str) -> None:
    """Refuses a model that makes weights only when it is called: a checkpoint and a copy of it
    would miss them.
    """
    import tensorflow as tf

    layers = [
        one for one in model.submodules if isinstance(one, tf.keras.layers.Layer) and not one.built
    ]
    before = {one.ref() for one in model.weights}
    if not layers:
        return
    model.queries(
        {"user": tf.zeros([1], tf.int32), "history": tf.zeros([1, model.max_length], tf.int32)}
    )
    if {one.ref() for one in model.weights} - before:
        late = ", ".join(one.name for one in layers if one.weights)
        raise ConfigError(
            f"model.name={name} must build its layers in its constructor: call build(input_shape) of {late} there."
        )


def _require_version(folder: Path, config: Config) -> None:
    """Refuses a run whose model, of another package, is another one by now."""
    name, taken = config.model.name, models.parameters(config.model.name)
    unknown = [key for key in config.model.parameters if key not in taken]
    if models.is_foreign(name) and unknown:
        raise ConfigError(
            f"{folder} is of another version of model.name={name}, which has no {unknown[0]} now: install that version, or train again."
        )


def _require_same_weights(model, path: Path) -> None:
    """Whether a checkpoint has no weights that the model does not have.

    Raises:
        ValueError: If it has some.
    """
    import tensorflow as tf

    saved = [
        name
        for name, _ in tf.train.list_variables(str(path))
        if name.endswith("VARIABLE_VALUE") and not name.startswith(_OF_TRAINING)
    ]
    if len(saved) > len(
        {variable.ref() for part in (model, *model.submodules) for variable in part.variables}
    ):
        raise ValueError("there are weights that the model does not have")


def save_vocabularies(folder: Path, sequences: Sequences) -> None:
    (folder / "vocabulary").mkdir(exist_ok=True)
    sequences.user_vocabulary.save(folder / USERS)
    sequences.item_vocabulary.save(folder / ITEMS)


def load_vocabularies(folder: Path) -> tuple[Vocabulary, Vocabulary]:
    """The vocabularies of a run: of its users and of its items."""
    run_files.check_files(folder, USERS, ITEMS)
    return Vocabulary.load(folder / USERS), Vocabulary.load(folder / ITEMS)


def load_item_counts(folder: Path) -> np.ndarray:
    """Returns the training events of each item of a run, [N].

    Raises:
        ConfigError: If the file is missing or damaged.
    """
    return run_files.read_item_counts(folder, ITEM_COUNTS, len(load_vocabularies(folder)[1]))


def save_trained_rows(folder: Path, rows: TrainedRows) -> None:
    """Writes which users and items the training of a run touches."""
    for name, values in zip(TRAINED, rows, strict=True):
        save_array(folder / name, values)


def load_trained_rows(folder: Path) -> TrainedRows:
    """Returns which users and items the training of a run has touched; of a run of an earlier
    version, all.

    Raises:
        ConfigError: If a file is missing or damaged.
    """
    sizes = map(len, load_vocabularies(folder))
    return TrainedRows(
        *(
            run_files.read_trained(folder, name, size)
            for name, size in zip(TRAINED, sizes, strict=True)
        )
    )


def load_metrics(folder: Path) -> dict:
    """Returns what `metrics.json` of a finished run holds.

    Raises:
        ConfigError: If the file is damaged.
    """
    return run_files.read_metrics(folder, METRICS)


def save_replay(folder: Path, split: Split) -> None:
    """Writes what an export of the run needs of its log: the training events of each item, and the
    held-out events in raw ids.
    """
    save_array(folder / ITEM_COUNTS, item_counts(split))
    for part in ("valid", "test"):
        save_replay_log(split, part, kept_events_file(folder, part))


def kept_events_file(folder: Path, part: str) -> Path:
    """The Parquet file with the held-out events of "valid" or "test" in raw ids."""
    return folder / f"{part}.parquet"


def seal(folder: Path) -> None:
    """Writes the checksums of all that is read of a finished run.

    Raises:
        OSError: If the disk is full.
    """
    weights = sorted(str(path.relative_to(folder)) for path in folder.glob(f"{BEST}.*"))
    kept = [kept_events_file(folder, part).name for part in ("valid", "test")]
    checksums.seal(folder, [CONFIG, METRICS, USERS, ITEMS, ITEM_COUNTS, *TRAINED, *weights, *kept])


def load_config(folder: str | Path) -> Config:
    """The resolved configuration of a finished run, to be read on one device.

    Raises:
        ConfigError: If the folder is not one, or damaged.
    """
    folder = Path(folder)
    if not any((folder / name).is_file() for name in (METRICS, checksums.SUMS)):
        raise ConfigError(
            f"{folder} is not a finished run: it has no {METRICS}; give a folder that tfrec_attn.train has written."
        )
    run_files.check_files(folder, CONFIG, METRICS)
    config = configuration.load(folder / CONFIG, _READ_BY_ONE_DEVICE)
    if config.evaluate.repeats is None:
        rule = load_metrics(folder).get("protocol", {}).get("repeats", "exclude")
        config = dataclasses.replace(
            config, evaluate=dataclasses.replace(config.evaluate, repeats=rule)
        )
    return config


def load_model(folder: str | Path):
    """The trained model of a run, with its best weights and its vocabularies.

    >>> items, scores = load_model("runs/synthetic-attrec").recommend([["i3", "i7"]], k=10)

    Raises:
        ConfigError: If the folder is not a finished run, or damaged.
        DataError: If the folder is not a finished run, or damaged.
    """
    folder, config = Path(folder), load_config(folder)
    if not (folder / f"{BEST}.index").is_file():
        raise ConfigError(f"{folder} has lost its weights, {BEST}; train again.")
    run_files.check_files(folder, f"{BEST}.*")
    _require_version(folder, config)
    model = build_model(
        config, *load_vocabularies(folder), load_item_counts(folder), load_trained_rows(folder)
    )
    try:
        # The checkpoint may hold more, such as the state of an optimizer, but must have every
        # variable of the model.
        model.load_weights(str(folder / BEST)).expect_partial().assert_existing_objects_matched()
        if models.is_foreign(config.model.name):
            _require_same_weights(model, folder / BEST)
    except (AssertionError, ValueError):
        remedy = (
            "install the version that it was trained with, or train again"
            if models.is_foreign(config.model.name)
            else "train again"
        )
        raise ConfigError(
            f"the weights in {folder} are of another model than its {CONFIG} describes; {remedy}."
        ) from None
    except Exception as error:
        # Of damaged weights TensorFlow raises its own errors, and those of what it parses them
        # with.
        raise ConfigError(
            f"the weights in {folder} are damaged ({type(error).__name__}); train again."
        ) from None
    return model


def load_data(folder: str | Path) -> PreparedData:
    """The data of a run from its log as it is now, which may have changed since the training.

    Raises:
        ConfigError: If the run is damaged, or the log cannot be used.
        DataError: If the run is damaged, or the log cannot be used.
    """
    folder, config = Path(folder), load_config(folder)
    return prepare_data(
        config, known=load_vocabularies(folder) if config.train.warm_start else None
    )


def write_json(path: Path, tree: dict) -> None:
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
