"""The search for the settings with the best validation metric."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrec_attn import models
from tfrec_attn.cli.terminal import ProgressLine, write_line
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError, TrainingError, counted
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs import run_files
from tfrec_attn.runs.run_dir import default_names
from tfrec_attn.runtime.process import import_tensorflow
from tfrec_attn.runtime.stop_signals import StopSignals, explain_rest
from tfrec_attn.studies.search.search_report import (
    best_of,
    best_yaml,
    describe_search,
    describe_trial,
    trials_csv,
)
from tfrec_attn.studies.search.search_space import SearchSpace
from tfrec_attn.studies.search.study_folder import (
    BEST,
    JOURNAL,
    TRIALS,
    StudyFolder,
    describe_study,
)
from tfrec_attn.studies.search.trial_journal import TrialJournal, import_optuna
from tfrec_attn.studies.search.trial_training import TrialResult, TrialTraining, without_test_events
from tfrec_attn.training.progress import Progress
from tfrec_attn.training.settings import check_loss
from tfrec_attn.training.training_run import read_data, resolve


@dataclass(frozen=True)
class Search:
    """The configuration and the budget of a search.

    Attributes:
        config: The configuration whose keys are searched.
        given: The sections with the keys that the file, the arguments and the model set.
        ranges: Section `search`, as for `SearchSpace.parse`.
        command: The command, which is written to the file of the best configuration.
        to: Folder of the search. None (default): searches/<source>-<model>.
        trials: Maximum number of trials, those of an interrupted search included. None (default):
            no limit.
        seconds: No trial starts after all trials together took this long. None (default): no limit.
        seed: Seed of the proposals. Default 1.
        prune_after: Epochs before a trial can be pruned. Default 5. None: no pruning.
    """

    config: Config
    given: dict[str, Any]
    ranges: Any
    command: str
    to: str | None = None
    trials: int | None = None
    seconds: float | None = None
    seed: int = 1
    prune_after: int | None = 5

    def is_over(self, results: list[TrialResult], space: SearchSpace) -> bool:
        """Whether the budget is used up, or every point of the space was tried."""
        return (
            (self.trials is not None and len(results) >= self.trials)
            or (self.seconds is not None and sum(one.seconds for one in results) >= self.seconds)
            or len(results) >= space.size
        )


def search(study: Search, *, restart: bool = False, notes: Sequence[str] = ()) -> Path:
    """Searches until the budget is used up, and returns the folder of the search.

    The folder holds the best configuration, a table of the trials and the journal. A search of the
    same configuration, space and data is resumed. The test events are not used.

    Args:
        study: The search.
        restart: Whether to remove the search that the folder holds. Default False.
        notes: Lines to print first.

    Raises:
        ConfigError: If the configuration or the space cannot be used, if Optuna is not installed,
            or if the folder holds something else.
        DataError: If the log cannot be used.
        TrainingError: If no trial could be completed, or if the folder cannot be written.
        Interrupted: If a signal was received.
    """
    import_optuna()
    base = resolve(study.config)
    _check(base)
    space = SearchSpace.parse(study.ranges, base)
    path = Path(study.to or Path("searches") / next(default_names(base)).name)
    for line in notes:
        write_line(line)
    with StopSignals() as stop, tempfile.TemporaryDirectory() as scratch:
        check_loss(base)
        data = read_data(base, None, Path(scratch) / run_files.REJECTED)
        write_line(str(data.report))
        if data.rejected:
            write_line(f"{counted(data.rejected, 'line', form='')} could not be read.")
        log = split_checksum(data.split)
        identity = describe_study(base, space, study.seed, study.prune_after, log)
        folder = StudyFolder(path, identity, restart)
        try:
            split = without_test_events(data.split)
            import_tensorflow()
            from tfrec_attn.training.evaluating import with_repeats

            base, _ = with_repeats(base, split)
            training = TrialTraining(base, split, folder.trial, stop)
            explained = explain_rest(path, lambda: _rest(folder), TrainingError)
            with stop.deferred(), explained, _no_warnings_of_retracing():
                _run(study, space, base, folder, training, stop)
        finally:
            folder.leave()
    return path


@contextlib.contextmanager
def _no_warnings_of_retracing() -> Iterator[None]:
    """Hides TensorFlow's warnings about retracing, because each trial traces its functions."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _check(config: Config) -> None:
    if models.trains_on(config.model.name) == models.COUNTS:
        raise ConfigError(
            f"model.name={config.model.name} cannot be used in a search, because it counts and is "
            "not trained; compare its settings with tfrec_attn.ablation --vary."
        )
    if config.train.warm_start is not None:
        raise ConfigError(
            "train.warm_start cannot be used in a search, whose trials start from random weights; "
            "set it to null."
        )
    if config.runtime.strategy == "multi_worker":
        raise ConfigError(
            "runtime.strategy=multi_worker cannot be used in a search, which is one process; "
            "set default or mirrored."
        )


def _run(
    study: Search,
    space: SearchSpace,
    base: Config,
    folder: StudyFolder,
    training: TrialTraining,
    stop: StopSignals,
) -> None:
    """Trains trials until the budget is used up."""
    journal = TrialJournal(folder.path / JOURNAL, space, study.seed, study.prune_after)
    results, metric = journal.results, base.evaluate.metric
    if results:
        write_line(f"Resuming {folder.path} after trial {len(results)}.")
        _write(study, space, base, folder, results)
    while not study.is_over(results, space):
        stop.check()
        trial, line = journal.propose(base), ProgressLine()
        stage = f"trial {len(results) + 1}, epochs:"

        def after_epoch(progress: Progress, config: Config, trial=trial, line=line, stage=stage):
            line(stage, progress.epoch, config.train.epochs)
            trial.report(progress, config)

        result = training.run(trial.values, after_epoch)
        journal.finish(trial, result, metric)
        training.clear()
        _write(study, space, base, folder, results)
        line.clear()
        is_best = best_of(results, metric) == len(results) - 1
        write_line(describe_trial(len(results), result, metric, is_best))
    write_line(f"\n{describe_search(results, metric)}")
    if best_of(results, metric) is None:
        raise TrainingError(f"No trial was completed: {results[-1].error or 'all were pruned'}.")


def _write(
    study: Search,
    space: SearchSpace,
    base: Config,
    folder: StudyFolder,
    results: list[TrialResult],
) -> None:
    """Writes the table of the trials and the best configuration."""
    texts = {TRIALS: trials_csv(results, space)}
    if best_of(results, base.evaluate.metric) is not None:
        texts[BEST] = best_yaml(results, space, base, study.given, study.command)
    for name, text in texts.items():
        replace_text(folder.path / name, text)


def _rest(folder: StudyFolder) -> str:
    """Returns what an interrupted search has written, and how to resume it."""
    if folder.has_trials():
        return f"the trials are in {folder.path}, and the same command resumes the search"
    return "nothing was written"
