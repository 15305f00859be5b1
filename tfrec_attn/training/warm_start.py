"""Warm start: a training that begins with the weights of a finished run on an earlier log."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.terminal import format_table
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.held_out_log import held_out_log
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.extensions import short_name
from tfrec_attn.runs import run, run_files

_EXAMPLES = 5
_MAX_USERS = 1_000  # whose recommendations are compared
_K = 10


@dataclasses.dataclass(frozen=True)
class PreviousRun:
    """The finished run of a warm start.

    Attributes:
        folder: The run.
        config: Its resolved configuration.
        vocabularies: Its users and its items.
    """

    folder: Path
    config: Config
    vocabularies: tuple[Vocabulary, Vocabulary]


def load_previous_run(config: Config) -> PreviousRun | None:
    """Returns the run of `train.warm_start`, or None without one.

    Raises:
        ConfigError: If the folder is not a finished run, or is one of another model.
    """
    if config.train.warm_start is None:
        return None
    folder = Path(config.train.warm_start)
    try:
        old = run_files.load_config(folder)
    except ConfigError as error:
        raise ConfigError(f"train.warm_start: {error}") from None
    # A model that joins runs takes only the users and items of the run.
    joins = models.joins_runs(config.model.name)
    if models.trains_on(old.model.name) == models.COUNTS and not joins:
        raise ConfigError(
            f"train.warm_start={folder} is a run of {short_name(old.model.name)}, which has no "
            f"training to continue; give a run of model.name={config.model.name}."
        )
    if old.model.name == config.model.name:
        old = configuration.with_model_parameters(old, models.parameters(old.model.name))
    for key, there, here in () if joins else _model_keys(old, config):
        if there != here:
            raise ConfigError(
                f"train.warm_start={folder} is of another model: {key} is {there} there but {here} "
                f"here; give {key}={there}."
            )
    return PreviousRun(folder, old, run_files.load_vocabularies(folder))


def _model_keys(old: Config, new: Config) -> Iterator[tuple[str, Any, Any]]:
    """Yields the keys that define a model, with their values in both configurations."""
    yield "model.name", old.model.name, new.model.name
    yield "data.max_length", old.data.max_length, new.data.max_length
    for key, value in new.model.parameters.items():
        yield f"model.{key}", old.model.parameters.get(key), value


class WarmStart:
    """Initializes a model with the weights of a finished run, and reports the effect.

    Users and items of the run keep their rows, also if the log no longer has them. All other
    weights are copied too. New rows of users are the mean of the known rows; `train.new_items`
    decides about new rows of items. Slots and step counter of the optimizer are copied if
    `train.optimizer`, its options and `train.ema` are the same. The schedule of the learning rate
    starts again.

    Args:
        previous: The finished run.
        config: The configuration of the new training.
        split: The data, whose vocabularies extend those of the run.

    Attributes:
        first_step: Step counter of the copied optimizer, or 0 for a new one.
        summary: What is known before the first step.

    Raises:
        ConfigError: If the weights of the run are lost.
    """

    def __init__(self, previous: PreviousRun, config: Config, split: Split):
        self._previous, self._config, self._split = previous, config, split
        self._old = run.load_model(previous.folder)
        self._recommended = self._recommend(self._old)
        # The new training counts the transitions again.
        self._old.transition_prior = None
        self._optimizer, state = self._load_optimizer()
        self.first_step = 0 if self._optimizer is None else int(self._optimizer.iterations.numpy())
        self.summary = {
            "run": str(previous.folder),
            "users": self._changes("users"),
            "items": self._changes("items"),
            "optimizer": state,
            "valid_of_run": run_files.load_metrics(previous.folder)["valid"],
        }

    def copy_weights_to(self, model: Any) -> None:
        """Copies the weights to a model that is not compiled, and ranks the validation events."""
        from tfrec_attn.evaluation.held_out import summarise
        from tfrec_attn.training.evaluating import rank
        from tfrec_attn.training.transfer import copy_weights, known_neighbours

        neighbours = None
        if self._config.train.new_items == "neighbours":
            neighbours = known_neighbours(count_transitions(self._split), self._old.num_items)
        copy_weights(self._old, model, neighbours)
        ranks = rank(model.traced_ranks(), self._config, self._split, "valid")
        self.summary["valid_before"] = summarise(ranks, self._config.evaluate.k)

    def describe(self) -> str:
        """Returns what is known before the first step, as text."""
        lines = [f"Warm start from {self.summary['run']}:"]
        for kind in ("users", "items"):
            changes = self.summary[kind]
            added, vanished = (
                f"{changes[key]} {key}{_examples(changes, key)}" for key in ("added", "vanished")
            )
            lines.append(f"{changes['known']} {kind} known, {added} and {vanished};")
        metric, of_run = self._config.evaluate.metric, self.summary["valid_of_run"]
        note = f" ({of_run[metric]:.4f} in that run, on its own log)" if metric in of_run else ""
        value = f"{self.summary['valid_before'][metric]:.4f}"
        lines.append(f"state of the optimizer {self.summary['optimizer']};")
        lines.append(f"{metric} of validation before the first step: {value}{note}.")
        return "\n".join(lines)

    def copy_slots_to(self, model: Any) -> None:
        """Copies the state of the optimizer to the optimizer of the compiled model."""
        from tfrec_attn.keras_versions import keras
        from tfrec_attn.training.transfer import copy_slots

        if self._optimizer is not None:
            keras.build(model.optimizer, model.trainable_variables)
            copy_slots(self._optimizer, self._old, model.optimizer, model)
        self._old = self._optimizer = None

    def report(self, model: Any, test_ranks: np.ndarray) -> dict[str, Any]:
        """Returns `warm_start` of metrics.json.

        Args:
            model: The trained model.
            test_ranks: Rank of each test event, in the order of the split.
        """
        from tfrec_attn.evaluation.held_out import summarise

        old = self._split.sequences.items[self._split.test] <= len(self._previous.vocabularies[1])
        parts = {"all": np.ones(len(old), bool), "old_items": old, "new_items": ~old}
        lists = zip(self._recommended, self._recommend(model), strict=True)
        overlaps = [len(set(a) & set(b)) / max(1, len(a), len(b)) for a, b in lists]
        k = self._config.evaluate.k
        return {
            **self.summary,
            "test": {
                name: summarise(test_ranks[chosen], k)
                for name, chosen in parts.items()
                if chosen.any()
            },
            "test_events": {name: int(np.count_nonzero(chosen)) for name, chosen in parts.items()},
            f"overlap@{_K}": float(np.mean(overlaps)),
            "overlap_users": len(overlaps),
        }

    def _changes(self, kind: str) -> dict[str, Any]:
        """Counts the known, added and vanished "users" or "items", with some examples."""
        sequences, (users, items) = self._split.sequences, self._previous.vocabularies
        if kind == "users":
            known, now, events = users, sequences.user_vocabulary, sequences.lengths
        else:
            known, now = items, sequences.item_vocabulary
            events = np.bincount(sequences.items, minlength=len(now) + 1)[1:]
        vanished = np.flatnonzero(events[: len(known)] == 0) + 1
        added = np.arange(len(known), len(now)) + 1
        return {
            "known": len(known),
            "added": len(added),
            "vanished": len(vanished),
            "first_added": now.ids(added[:_EXAMPLES]),
            "first_vanished": now.ids(vanished[:_EXAMPLES]),
        }

    def _load_optimizer(self) -> tuple[Any, str]:
        """Returns the optimizer of the run at its best epoch, or None, and its state as text."""
        import tensorflow as tf

        from tfrec_attn.optimizers import make_optimizer
        from tfrec_attn.training.transfer import load_slots

        config = self._previous.config
        for key in ("optimizer", "optimizer_options", "ema"):
            there, here = getattr(config.train, key), getattr(self._config.train, key)
            if there != here:
                return None, f"fresh, because train.{key} was {there} and is {here}"
        # The schedule has no state, so its number of steps does not matter.
        optimizer = make_optimizer(config, steps_per_epoch=max(1, config.train.warmup_steps))
        if config.runtime.precision == "mixed_float16":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        if load_slots(optimizer, self._old, self._previous.folder / run_files.BEST):
            return optimizer, f"kept, from step {int(optimizer.iterations.numpy())}"
        return None, "fresh, because the run has not saved it"

    def _recommend(self, model: Any) -> list[list[str]]:
        """Returns the ten best items of each compared user before their validation event."""
        from tfrec_attn.evaluation.held_out import block_size

        valid = self._split.valid
        chosen_rows = np.linspace(0, len(valid) - 1, min(len(valid), _MAX_USERS)).astype(int)
        chosen = dataclasses.replace(self._split, valid=valid[np.unique(chosen_rows)])
        events, size = held_out_log(chosen, "valid"), block_size(model.num_items)
        users, histories = events["user_id"].to_list(), events["history"].to_list()
        found = []
        for begin in range(0, len(users), size):
            block = slice(begin, begin + size)
            found += model.recommend(histories[block], k=_K, users=users[block])[0]
        return found


def describe_report(report: dict[str, Any]) -> str:
    """Returns the report of a finished warm start as text."""
    rows = {
        f"{name.replace('_', ' ')} ({report['test_events'][name]})": values
        for name, values in report["test"].items()
    }
    return (
        f"{format_table('test after the warm start', rows)}\n"
        f"overlap@{_K} with the recommendations of the run: {report[f'overlap@{_K}']:.2f} "
        f"(mean of {report['overlap_users']} users)"
    )


def _examples(changes: dict[str, Any], key: str) -> str:
    """Returns the first ids in brackets, or an empty text without ids."""
    ids = changes[f"first_{key}"]
    more = ", ..." if changes[key] > len(ids) else ""
    return f" ({', '.join(ids)}{more})" if ids else ""
