"""The trials of a search as a study of Optuna, whose journal a killed process leaves readable.

Each trial has its own sampler, whose seed depends on the number of finished trials. A resumed
search therefore proposes the same trials as a search without interruption.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfrec_attn.config import Config
from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.studies.search.search_space import SearchSpace
from tfrec_attn.studies.search.trial_training import COMPLETED, Pruned, TrialResult
from tfrec_attn.training.progress import Progress

_NAME, _RESULT = "search", "result"


def import_optuna() -> Any:
    """Imports Optuna.

    Raises:
        ConfigError: If Optuna is not installed.
    """
    try:
        import optuna.logging
    except ImportError:
        raise ConfigError(
            "The package optuna is not installed; get it with pip install 'tfrec-attn[search]'."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class TrialJournal:
    """Proposes trials, and keeps their results.

    Args:
        path: The journal. It is created if it does not exist.
        space: The search space.
        seed: Seed of the proposals.
        prune_after: Epochs before a trial can be pruned. None: no pruning.

    Attributes:
        results: The finished trials, in order.

    Raises:
        ConfigError: If the journal is damaged.
        TrainingError: If the journal cannot be written.
    """

    def __init__(self, path: Path, space: SearchSpace, seed: int, prune_after: int | None):
        self._optuna = optuna = import_optuna()
        self._path, self._space, self._seed = path, space, seed
        pruners = optuna.pruners
        pruner = (
            pruners.NopPruner()
            if prune_after is None
            else pruners.MedianPruner(n_warmup_steps=prune_after)
        )
        try:
            with self.writing():
                _drop_unfinished_line(path)
                backend = optuna.storages.journal.JournalFileBackend(str(path))
                storage = optuna.storages.JournalStorage(backend)
                if not storage.get_all_studies():
                    optuna.create_study(storage=storage, study_name=_NAME, direction="maximize")
                self._study = optuna.load_study(study_name=_NAME, storage=storage, pruner=pruner)
                self.results = self._read()
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
            raise ConfigError(
                f"{path} is damaged; restore it, or give --restart to start the search again."
            ) from None

    def _read(self) -> list[TrialResult]:
        """Returns the finished trials, and marks the trials of killed processes as failed."""
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False, states=[states.RUNNING]):
            self._study.tell(trial.number, state=states.FAIL)
        finished = self._study.get_trials(deepcopy=False, states=[states.COMPLETE, states.PRUNED])
        return [TrialResult(**trial.user_attrs[_RESULT]) for trial in finished]

    def propose(self, base: Config) -> "ProposedTrial":
        """Returns the next trial, at a point of the space that was not tried before.

        The first trial has the values of `base`, if they are in the space. The caller ensures that
        an untried point is left.
        """
        tried, first = [one.values for one in self.results], self._space.point_of(base)
        distributions = {key: one.distribution() for key, one in self._space.ranges.items()}
        samplers, states = self._optuna.samplers, self._optuna.trial.TrialState
        with self.writing():
            if not tried and first and not self._study.get_trials(states=[states.WAITING]):
                self._study.enqueue_trial(first)
            attempt = 0
            while True:
                words = np.random.SeedSequence([self._seed, len(tried), attempt]).generate_state(1)
                # TPE learns from the earlier trials, and can propose one of them again.
                sampler = samplers.RandomSampler if attempt else samplers.TPESampler
                self._study.sampler = sampler(seed=int(words[0]))
                asked = self._study.ask(distributions)
                values = self._space.values(asked.params)
                if values not in tried:
                    return ProposedTrial(self, asked, values)
                self._study.tell(asked, state=states.FAIL)
                attempt += 1

    def finish(self, trial: "ProposedTrial", result: TrialResult, metric: str) -> None:
        """Adds the result of a trial.

        Args:
            trial: The trial.
            result: Its result.
            metric: The validation metric to maximize.
        """
        with self.writing():
            trial.asked.set_user_attr(_RESULT, dataclasses.asdict(result))
            if result.state == COMPLETED:
                self._study.tell(trial.asked, result.metrics[metric])
            else:
                # The sampler avoids failed points in the same way as pruned points.
                self._study.tell(trial.asked, state=self._optuna.trial.TrialState.PRUNED)
        self.results.append(result)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns each OSError raised inside into a TrainingError."""
        try:
            yield
        except OSError as error:
            raise TrainingError(f"{self._path} cannot be written: {error.strerror}.") from None


class ProposedTrial:
    """A trial that is not finished.

    Args:
        journal: The journal of the search.
        asked: Optuna's trial.
        values: Values of the searched keys.
    """

    def __init__(self, journal: TrialJournal, asked: Any, values: dict[str, Any]):
        self.asked, self.values = asked, values
        self._journal, self._reported = journal, 0

    def report(self, progress: Progress, config: Config) -> None:
        """Reports the new epochs of a training to Optuna.

        Raises:
            Pruned: If the training is not over, and its best value is below the median of the
                completed trials at this epoch.
            TrainingError: If the journal cannot be written.
        """
        metric, train = config.evaluate.metric, config.train
        with self._journal.writing():
            for epoch in range(self._reported, progress.epoch):
                self.asked.report(progress.history[epoch][f"val_{metric}"], epoch + 1)
            self._reported = progress.epoch
            patience = progress.patience(train.patience, train.ema)
            is_over = progress.is_over(train.epochs, metric, patience)
            if not is_over and self.asked.should_prune():
                raise Pruned


def _drop_unfinished_line(path: Path) -> None:
    """Removes an incomplete last line, which a killed process has left."""
    if path.exists():
        with open(path, "rb+") as file:
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)
