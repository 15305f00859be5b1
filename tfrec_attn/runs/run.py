"""Makes the data and the model of a configuration or of a finished run."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tfrec_attn import models
from tfrec_attn.config import Config, Data, has_prior
from tfrec_attn.data.reading import catalog
from tfrec_attn.data.reading.interactions import ReadResult
from tfrec_attn.data.sequences.encoding import Sequences, encode_log
from tfrec_attn.data.sequences.event_filters import filter_events
from tfrec_attn.data.sequences.filter_report import FilterReport
from tfrec_attn.data.sequences.splits import Split, make_split
from tfrec_attn.data.sequences.trained_rows import TrainedRows
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.data.shards import prepared_log
from tfrec_attn.errors import ConfigError, with_keys
from tfrec_attn.extensions import MODELS
from tfrec_attn.runs.run_files import (
    BEST,
    CONFIG,
    check_files,
    load_config,
    load_item_counts,
    load_trained_rows,
    load_vocabularies,
)
from tfrec_attn.runtime.process import import_tensorflow

LONGEST_RECOMMENDED = 50  # The greatest data.max_length that a model recommends.


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """A filtered, encoded and split log.

    Attributes:
        split: The sequences, split into training, validation and test events.
        report: Report of the filters.
        rejected: Number of lines that cannot be read.
    """

    split: Split
    report: FilterReport
    rejected: int

    @property
    def sequences(self) -> Sequences:
        """The encoded sequences."""
        return self.split.sequences


def prepare_data(
    config: Config,
    rejected: Path | None = None,
    known: tuple[Vocabulary, Vocabulary] | None = None,
    schema: bool = False,
) -> PreparedData:
    """Reads, filters and splits the log of a configuration.

    Args:
        config: The configuration, of which the section `data` and `evaluate.targets` are used.
        rejected: File for lines that cannot be read, if data.on_error is skip. None (default)
            writes none.
        known: Vocabularies of users and items to extend, or None (default).
        schema: Whether to check the log against data.schema (default: False).

    Raises:
        DataError: If the log cannot be used.
        ConfigError: If section `data` does not fit the log.
    """
    data = config.data
    if prepared_log.is_folder(data.source):
        return _check_lengths(config, _open_prepared(config, known))
    if schema and data.schema is not None:
        result = _read_by_schema(data, rejected)
    else:
        result = catalog.load_configured(data, rejected)
    frame, selection = filter_events(result.frame, data)
    sequences, report = encode_log(
        frame,
        min_user_events=data.min_user_events,
        min_item_events=data.min_item_events,
        known=known,
        sessions=data.session_gap is not None,
    )
    report = dataclasses.replace(report, selection=selection)
    if data.columns.timestamp is None:
        report = dataclasses.replace(report, duplicates=None)
    split = make_split(
        *(sequences, data.split, config.evaluate.targets),
        valid_from=data.valid_from,
        test_from=data.test_from,
    )
    return _check_lengths(config, PreparedData(split, report, result.rejected))


def _read_by_schema(data: Data, rejected: Path | None) -> ReadResult:
    # Imported here because most runs have no schema, and protocol buffers take time to import.
    from tfrec_attn.data.quality.anomalies import refuse_anomalies
    from tfrec_attn.data.quality.schema_file import load_schema

    required = load_schema(data.schema)
    result = catalog.load_configured(data, rejected)
    refuse_anomalies(result.frame, required, data.schema)
    return result


def _open_prepared(config: Config, known: tuple[Vocabulary, Vocabulary] | None) -> PreparedData:
    if known is not None:
        raise ConfigError(
            "train.warm_start needs a log, because a prepared folder has its own vocabularies; "
            "set data.source=file."
        )
    if config.evaluate.targets not in (None, "first"):
        raise ConfigError(
            f"evaluate.targets={config.evaluate.targets} needs a log, because the targets of a "
            "prepared folder are the first events; set data.source=file."
        )
    log = prepared_log.open_source(config.data)
    import_tensorflow()
    if prepared_log.fits(config.data, log):
        return PreparedData(log.load(), log.report(), log.manifest.rejected)
    from tfrec_attn.data.shards.sharded_split import ShardedSplit

    return PreparedData(ShardedSplit.open(log), log.report(), log.manifest.rejected)


def _check_lengths(config: Config, data: PreparedData) -> PreparedData:
    longest = int(data.sequences.lengths.max())
    length, targets = config.data.max_length, config.data.targets
    # Histories can be shorter than max_length. A max_length of ten times the longest history is
    # probably a mistake, unless a model recommends it for any log.
    if length >= 10 * longest and length > LONGEST_RECOMMENDED:
        raise ConfigError(
            f"data.max_length must be less than ten times the longest history, {longest} events, "
            f"but is {length}; lower it."
        )
    if targets >= longest:
        raise ConfigError(
            f"data.targets must be less than the longest history, {longest} events, but is "
            f"{targets}; lower it."
        )
    return data


def load_data(folder: str | Path) -> PreparedData:
    """Prepares the current log of a run, which can have changed since the training.

    Raises:
        ConfigError: If the run is damaged.
        DataError: If the log cannot be used.
    """
    folder, config = Path(folder), load_config(folder)
    known = load_vocabularies(folder) if config.train.warm_start else None
    return prepare_data(config, known=known)


def build_model(
    config: Config,
    users: Vocabulary,
    items: Vocabulary,
    counts: np.ndarray | None = None,
    trained: TrainedRows | None = None,
) -> Any:
    """Returns the model of a configuration, with all that `recommend` needs.

    Args:
        config: The configuration.
        users: Vocabulary of the users.
        items: Vocabulary of the items.
        counts: Number of training events of each item, [N]. None (default): the model scores an
            empty history itself.
        trained: Rows with training events. None (default): all rows.

    Raises:
        ConfigError: If the model rejects its parameters or does not fit into memory.
    """
    import tensorflow as tf

    cls = models.get(config.model.name)
    try:
        model = cls(len(users), len(items), config.data.max_length, **config.model.parameters)
    except tf.errors.ResourceExhaustedError:
        raise ConfigError(
            f"model {config.model.name} with {len(users)} users, {len(items)} items and these "
            "parameters does not fit into the memory; lower model.dim."
        ) from None
    except Exception as error:
        if models.is_foreign(config.model.name):
            raise MODELS.failure(config.model.name, "cannot be built", error) from None
        if not isinstance(error, (ValueError, TypeError)):
            raise
        keys = {name: f"model.{name}" for name in models.parameters(config.model.name)}
        keys["max_length"] = "data.max_length"
        raise ConfigError(
            f"model {config.model.name} refuses its parameters: {with_keys(str(error), keys)}"
        ) from None
    if models.is_foreign(config.model.name):
        from tfrec_attn.runs.contract import check_contract

        check_contract(model, config.model.name)
    model.set_vocabularies(items, users)
    model.repeats = config.evaluate.repeats or model.repeats
    if counts is not None:
        model.popularity = (counts / max(counts.sum(), 1)).astype(np.float32)
    if trained is not None:
        rows = (None if one.all() else one for one in trained)
        model.trained_users, model.trained_items = rows
    return model


def load_model(folder: str | Path) -> Any:
    """Returns the trained model of a run, with its best weights and its vocabularies.

    >>> items, scores = load_model("runs/synthetic-attrec").recommend([["i3", "i7"]], k=10)

    Raises:
        ConfigError: If the folder is not a finished run, or is damaged.
        DataError: If a vocabulary is damaged.
    """
    folder, config = Path(folder), load_config(folder)
    name = config.model.name
    if not (folder / f"{BEST}.index").is_file():
        raise ConfigError(f"{folder} has lost its weights, {BEST}; train again.")
    check_files(folder, f"{BEST}.*")
    _check_version(folder, config)
    model = build_model(
        config, *load_vocabularies(folder), load_item_counts(folder), load_trained_rows(folder)
    )
    if has_prior(config):
        from tfrec_attn.layers.transition_prior import TransitionPrior

        model.transition_prior = TransitionPrior(
            model.num_items, config.prior.neighbours, name="transition_prior"
        )
    try:
        # The checkpoint can have more than the weights, such as the state of the optimizer.
        from tfrec_attn.runs import weights

        weights.read(folder / BEST, model)
        if models.is_foreign(name):
            _check_number_of_weights(model, folder / BEST)
    except (AssertionError, ValueError):
        version = "install the version that it was trained with, or "
        remedy = f"{version if models.is_foreign(name) else ''}train again"
        raise ConfigError(
            f"the weights in {folder} are of another model than its {CONFIG} describes; {remedy}."
        ) from None
    except Exception as error:
        # For damaged weights TensorFlow raises various errors of its own and of its parsers.
        raise ConfigError(
            f"the weights in {folder} are damaged ({type(error).__name__}); train again."
        ) from None
    return model


def _check_version(folder: Path, config: Config) -> None:
    """Raises ConfigError if a model of another package no longer has a parameter of the run."""
    name, taken = config.model.name, models.parameters(config.model.name)
    unknown = [key for key in config.model.parameters if key not in taken]
    if models.is_foreign(name) and unknown:
        raise ConfigError(
            f"{folder} is of another version of model.name={name}, which has no {unknown[0]} now: "
            "install that version, or train again."
        )


def _check_number_of_weights(model: Any, path: Path) -> None:
    """Raises ValueError if a checkpoint has weights that the model does not have."""
    from tfrec_attn.runs import weights

    if len(weights.saved_weights(path)) > len(weights.named_weights(model)):
        raise ValueError("there are weights that the model does not have")
