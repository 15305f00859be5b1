"""Warm start: training that goes on from a finished run with a log that has grown."""

import dataclasses
from pathlib import Path

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.terminal import format_table
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.replay_log import replay_log
from tfrec_attn.data.sequences.splits import Split
from tfrec_attn.data.sequences.transitions import count_transitions
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run

_SHOWN = 5
_COMPARED = 1_000  # users whose recommendations are compared
_K = 10


@dataclasses.dataclass(frozen=True)
class Origin:
    """The finished run that a warm start goes on from.

    Attributes:
      folder: of the run.
      config: of the run, resolved.
      vocabularies: of its users and of its items.
    """

    folder: Path
    config: Config
    vocabularies: tuple[Vocabulary, Vocabulary]


def load_origin(config: Config) -> Origin | None:
    """The run of `train.warm_start`, or None without one.

    Raises:
        ConfigError: If the folder is no finished run, or one of another model.
    """
    if config.train.warm_start is None:
        return None
    folder = Path(config.train.warm_start)
    try:
        old = run.load_config(folder)
    except ConfigError as error:
        raise ConfigError(f"train.warm_start: {error}") from None
    if old.model.name == config.model.name:
        old = configuration.with_model_parameters(old, models.parameters(old.model.name))
    for key, there, here in _compared(old, config):
        if there != here:
            raise ConfigError(
                f"train.warm_start={folder} is of another model: {key} is {there} there but {here} here; give {key}={there}."
            )
    return Origin(folder, old, run.load_vocabularies(folder))


class WarmStart:
    """Gives a model the weights of a finished run before its first step, and tells afterwards what
    became of them.

    Users and items of the run keep their rows, also those that the log no longer has; all other
    weights are kept too. Rows of users are added as the mean of the known ones, rows of items as
    `train.new_items` says. The optimizer goes on from the run's slots and step counter where
    `train.optimizer` and its options are the same; the schedule of the learning rate begins anew.

    Args:
      origin: the run.
      config: of the training.
      split: of the data, indexed by vocabularies that go on from those of the run.

    Attributes:
      first_step: steps of the run that the optimizer goes on from.
      facts: what is known before the first step.

    Errors: ConfigError when the weights of the run are lost.
    """

    def __init__(self, origin: Origin, config: Config, split: Split):
        self._origin, self._config, self._split = origin, config, split
        self._old = run.load_model(origin.folder)
        self._recommended = self._recommend(self._old)
        self._optimizer, state = self._old_optimizer()
        self.first_step = (
            int(self._optimizer.iterations.numpy()) if self._optimizer is not None else 0
        )
        self.facts = {
            "run": str(origin.folder),
            **{kind: self._changes(place) for place, kind in enumerate(("users", "items"))},
            "optimizer": state,
            "valid_of_run": run.load_metrics(origin.folder)["valid"],
        }

    def take_weights(self, model) -> None:
        """Gives a model, not compiled yet, the weights of the run, and ranks the validation events
        by them.
        """
        from tfrec_attn.evaluation.held_out import summarise
        from tfrec_attn.training.fitting import rank
        from tfrec_attn.training.transfer import copy_weights, known_neighbours

        by_neighbours = self._config.train.new_items == "neighbours"
        copy_weights(
            self._old,
            model,
            known_neighbours(count_transitions(self._split), self._old.num_items)
            if by_neighbours
            else None,
        )
        self.facts["valid_before"] = summarise(
            rank(model.ranks, self._config, self._split, "valid"), self._config.evaluate.k
        )

    def opening(self) -> str:
        """What is known before the first step, as text."""
        lines = [f"Warm start from {self.facts['run']}:"]
        for kind in ("users", "items"):
            changes = self.facts[kind]
            changed = " and ".join(
                f"{changes[key]} {key}{_examples(changes, key)}" for key in ("added", "vanished")
            )
            lines.append(f"{changes['known']} {kind} known, {changed};")
        metric, there = self._config.evaluate.metric, self.facts["valid_of_run"]
        beside = f" ({there[metric]:.4f} in that run, on its own log)" if metric in there else ""
        before = f"{metric} of validation before the first step: {self.facts['valid_before'][metric]:.4f}{beside}."
        return "\n".join([*lines, f"state of the optimizer {self.facts['optimizer']};", before])

    def take_slots(self, model) -> None:
        """Gives the optimizer of the compiled model the state of the run's."""
        from tfrec_attn.training.transfer import copy_slots

        if self._optimizer is not None:
            model.optimizer.build(model.trainable_variables)
            copy_slots(self._optimizer, model.optimizer)
        self._old = self._optimizer = None

    def report(self, model, test_ranks: np.ndarray) -> dict:
        """What stands in metrics.json as `warm_start`.

        Args:
          model: the trained one.
          test_ranks: rank of every test event, in the order of the split.
        """
        from tfrec_attn.evaluation.held_out import summarise

        old = self._split.sequences.items[self._split.test] <= len(self._origin.vocabularies[1])
        parts = {"all": np.ones(len(old), bool), "old_items": old, "new_items": ~old}
        overlaps = [
            len(set(a) & set(b)) / max(1, len(a), len(b))
            for a, b in zip(self._recommended, self._recommend(model), strict=True)
        ]
        return {
            **self.facts,
            "test": {
                name: summarise(test_ranks[chosen], self._config.evaluate.k)
                for name, chosen in parts.items()
                if chosen.any()
            },
            "test_events": {name: int(np.count_nonzero(chosen)) for name, chosen in parts.items()},
            f"overlap@{_K}": float(np.mean(overlaps)),
            "overlap_users": len(overlaps),
        }

    def _changes(self, place):
        known = self._origin.vocabularies[place]
        sequences = self._split.sequences
        now = (sequences.user_vocabulary, sequences.item_vocabulary)[place]
        events = (
            sequences.lengths
            if place == 0
            else np.bincount(sequences.items, minlength=len(now) + 1)[1:]
        )
        vanished = np.flatnonzero(events[: len(known)] == 0) + 1
        first = {
            "added": np.arange(len(known), min(len(known) + _SHOWN, len(now))) + 1,
            "vanished": vanished[:_SHOWN],
        }
        counts = {"known": len(known), "added": len(now) - len(known), "vanished": len(vanished)}
        return {**counts, **{f"first_{key}": now.ids(indices) for key, indices in first.items()}}

    def _old_optimizer(self):
        """The optimizer of the run as it was when its weights were the best, or None; and why."""
        import tensorflow as tf

        from tfrec_attn.optimizers import make_optimizer
        from tfrec_attn.training.transfer import load_slots

        config = self._origin.config
        for key in ("optimizer", "optimizer_options"):
            there, here = getattr(config.train, key), getattr(self._config.train, key)
            if there != here:
                return None, f"fresh, because train.{key} was {there} and is {here}"
        # Over how many steps the schedule went plays no part: it has no state.
        optimizer = make_optimizer(config, steps_per_epoch=max(1, config.train.warmup_steps))
        if config.runtime.precision == "mixed_float16":
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        if load_slots(
            optimizer, self._old.trainable_variables, str(self._origin.folder / run.BEST)
        ):
            return optimizer, f"kept, from step {int(optimizer.iterations.numpy())}"
        return None, "fresh, because the run has not saved it"

    def _recommend(self, model):
        """The ten best items of each compared user after his events before the validation."""
        from tfrec_attn.evaluation.held_out import block_size

        positions = self._split.valid
        chosen = positions[
            np.unique(
                np.linspace(0, len(positions) - 1, min(len(positions), _COMPARED)).astype(int)
            )
        ]
        events = replay_log(dataclasses.replace(self._split, valid=chosen), "valid")
        users, histories, size = (
            events["user_id"].to_list(),
            events["history"].to_list(),
            block_size(model.num_items),
        )
        found = []
        for begin in range(0, len(users), size):
            found += model.recommend(
                histories[begin : begin + size], k=_K, users=users[begin : begin + size]
            )[0]
        return found


def closing(facts: dict) -> str:
    """The report of a finished warm start as text."""
    rows = {
        f"{name.replace('_', ' ')} ({facts['test_events'][name]})": values
        for name, values in facts["test"].items()
    }
    overlap = f"overlap@{_K} with the recommendations of the run: {facts[f'overlap@{_K}']:.2f} (mean of {facts['overlap_users']} users)"
    return f"{format_table('test after the warm start', rows)}\n{overlap}"


def _examples(changes, key):
    """The first ids in brackets, or nothing where there are none."""
    shown = changes[f"first_{key}"]
    return f" ({', '.join(shown)}{', ...' if changes[key] > len(shown) else ''})" if shown else ""


def _compared(old: Config, new: Config):
    """(key, value there, value here) of all that makes two models alike."""
    yield "model.name", old.model.name, new.model.name
    yield "data.max_length", old.data.max_length, new.data.max_length
    for key, value in new.model.parameters.items():
        yield f"model.{key}", old.model.parameters.get(key), value
