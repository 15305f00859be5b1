"""The training of a model that only counts."""

import time
from pathlib import Path
from typing import Any

from tfrec_attn import models
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.errors import ConfigError
from tfrec_attn.extensions import MODELS
from tfrec_attn.runs.run_files import load_trained_rows, save_trained_rows
from tfrec_attn.training.checkpoints import Checkpoints


def count(model: Any, config: Config, split: Split, folder: Path) -> dict[str, float]:
    """Counts the training events, and writes the weights of the model.

    Args:
        model: A `SequenceModel` that trains on counts.
        config: The configuration.
        split: The data.
        folder: Folder for `checkpoints/`.

    Returns:
        The keys of the result of `fit`, with 0 epochs and with the seconds of the counting.

    Raises:
        ConfigError: If a model of another package fails.
        TrainingError: If the folder cannot be written.
    """
    begin = time.perf_counter()
    try:
        model.count(split)
    except ConfigError:
        raise
    except Exception as error:
        if not models.is_foreign(config.model.name):
            raise
        raise MODELS.failure(config.model.name, "cannot count the events", error) from None
    if models.joins_runs(config.model.name) and model.trained_users is not None:
        # The joined runs may not know all users of the log.
        trained = load_trained_rows(folder)
        save_trained_rows(folder, trained._replace(users=trained.users & model.trained_users))
    seconds = time.perf_counter() - begin
    Checkpoints(folder).save_best(model)
    return {
        "best_epoch": 0,
        "epochs": 0,
        "seconds_per_epoch": seconds,
        "examples_per_second": float(item_counts(split).sum()) / seconds,
        "earlier_seconds": 0.0,
    }
