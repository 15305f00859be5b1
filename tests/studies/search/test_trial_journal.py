"""Proposals and results of trials, pruning, and journals of killed processes."""

import builtins
import os
import re

import pytest

from tfrec_attn import config as configuration
from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.studies.search.search_space import SearchSpace
from tfrec_attn.studies.search.trial_journal import TrialJournal, import_optuna
from tfrec_attn.studies.search.trial_training import (
    COMPLETED,
    FAILED,
    PRUNED,
    Pruned,
    TrialResult,
)
from tfrec_attn.studies.search.value_ranges import Choices, Range
from tfrec_attn.training.progress import Progress
from tfrec_attn.training.training_run import resolve

SPACE = SearchSpace(
    {
        "model.dim": Choices([4, 8]),
        "train.l2": Range(0.0, 0.5, 0.1),
        "train.learning_rate": Range(1e-3, 1.0, None, True),
    }
)


@pytest.fixture(scope="module")
def base():
    return resolve(configuration.load(None, ["model.dim=4", "train.epochs=9"]))


@pytest.fixture
def open_journal(tmp_path):
    """A function that opens the journal of a space in the folder of the test."""

    def opened(space=SPACE, seed=3, prune_after=None, name="journal.log"):
        return TrialJournal(tmp_path / name, space, seed, prune_after)

    return opened


def finish(journal, trial, value=None, state=COMPLETED, seconds=1.0):
    """Ends a trial with a metric, by default one with a peak in the space."""
    if value is None:
        drawn = trial.values
        value = drawn["model.dim"] - abs(drawn["train.l2"] - 0.3) - drawn["train.learning_rate"]
    metrics = {"MRR": value} if state != FAILED else {}
    journal.finish(trial, TrialResult(state, trial.values, metrics, 1, 2, seconds, 7), "MRR")


def test_an_interrupted_search_proposes_the_same_trials(open_journal, base):
    whole = open_journal(name="whole.log")
    for number in range(14):
        finish(whole, whole.propose(base), state=PRUNED if number == 2 else COMPLETED)
    for count in (3, 11, 14):
        journal = open_journal()
        while len(journal.results) < count:
            number = len(journal.results)
            finish(journal, journal.propose(base), state=PRUNED if number == 2 else COMPLETED)
        # The process is killed in the next trial.
        killed = journal.propose(base)
        assert killed.values not in [one.values for one in journal.results]
    assert open_journal().results == whole.results
    points = [tuple(one.values.values()) for one in whole.results]
    assert len(set(points)) == 14
    # It has learned that a small step is better: the mean of its logarithm falls.
    rates = [one.values["train.learning_rate"] for one in whole.results]
    assert all(1e-3 <= rate <= 1.0 for rate in rates)
    other = open_journal(seed=4, name="other.log")
    finish(other, other.propose(base))
    assert other.propose(base).values != whole.results[1].values


def test_the_first_trial_is_the_configuration(open_journal, base):
    assert open_journal().propose(base).values == {
        "model.dim": 4,
        "train.l2": 0.0,
        "train.learning_rate": 0.05,
    }
    # Also after the process was killed in it.
    journal = open_journal()
    assert journal.propose(base).values["train.learning_rate"] == 0.05
    # A configuration outside of the space is not tried.
    other = resolve(configuration.load(None, ["model.dim=5"]))
    assert open_journal(name="other.log").propose(other).values["train.learning_rate"] != 0.05


def test_every_point_is_tried_once(open_journal, base):
    journal = open_journal(
        SearchSpace({"model.dim": Choices([2, 4, 6]), "train.l2": Range(0.0, 0.1, 0.1)})
    )
    for _ in range(6):
        finish(journal, journal.propose(base), value=0.5)
    points = {tuple(one.values.values()) for one in journal.results}
    assert points == {(dim, l2) for dim in (2, 4, 6) for l2 in (0.0, 0.1)}


def progress_of(*values):
    return Progress(epoch=len(values), history=[{"val_MRR": value} for value in values])


def reports(journal, base, *values):
    """Reports epochs one by one, and returns after how many the trial is pruned, or None."""
    trial = journal.propose(base)
    for count in range(1, len(values) + 1):
        try:
            trial.report(progress_of(*values[:count]), base)
        except Pruned:
            finish(journal, trial, values[count - 1], PRUNED)
            return count
    finish(journal, trial, max(values))
    return None


def test_pruning_below_the_median(open_journal, base):
    journal = open_journal(prune_after=2)
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        # Fewer than five completed trials prune nothing.
        assert reports(journal, base, 0.0, value, value) is None
    # The median at epoch 2 is 0.3; epoch 1 is too early, and the best epoch so far counts.
    assert reports(journal, base, 0.0, 0.25, 0.9) == 2
    assert reports(journal, base, 0.31, 0.1, 0.35) is None
    # The pruned trial does not move the median, the completed one does: of 0.1 0.1 0.2 .. 0.5 at
    # epoch 2 it is 0.25.
    assert reports(journal, base, 0.0, 0.26, 0.0) == 3
    assert reports(journal, base, 0.0, 0.24) == 2


def test_the_last_epoch_is_not_pruned(open_journal, base):
    journal = open_journal(prune_after=1)
    for _ in range(5):
        assert reports(journal, base, 0.5, 0.5) is None
    short = resolve(configuration.load(None, ["train.epochs=1"]))
    assert reports(journal, short, 0.1) is None
    assert reports(journal, base, 0.1) == 1


def test_no_pruning(open_journal, base):
    journal = open_journal(prune_after=None)
    for _ in range(5):
        assert reports(journal, base, 0.5, 0.5) is None
    assert reports(journal, base, 0.0, 0.0) is None


def test_a_resumed_trial_reports_its_earlier_epochs(open_journal, base):
    journal = open_journal(prune_after=2)
    for _ in range(5):
        assert reports(journal, base, 0.4, 0.4, 0.4) is None
    trial = open_journal(prune_after=2).propose(base)
    # Its best epoch is one that an earlier process trained.
    trial.report(progress_of(0.5, 0.1), base)
    trial.report(progress_of(0.5, 0.1, 0.1), base)
    with pytest.raises(Pruned):
        open_journal(prune_after=2).propose(base).report(progress_of(0.3, 0.1, 0.1), base)


def test_failed_trials_are_kept(open_journal, base):
    journal = open_journal()
    trial = journal.propose(base)
    failed = TrialResult(FAILED, trial.values, error="The loss became nan.")
    journal.finish(trial, failed, "MRR")
    assert open_journal().results == [failed]


def test_an_unfinished_line_is_dropped(open_journal, base, tmp_path):
    journal = open_journal()
    finish(journal, journal.propose(base))
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    for end in (b'{"op_code":4,"wor', b"", b"\xff"):
        path.write_bytes(whole + end)
        assert open_journal().results == journal.results


@pytest.mark.parametrize("line", [b"[]\n", b"{}\n", b"nonsense\n", b'{"op_code": 77}\n'])
def test_a_damaged_journal(line, open_journal, base, tmp_path):
    journal, path = open_journal(), tmp_path / "journal.log"
    finish(journal, journal.propose(base))
    path.write_bytes(line + path.read_bytes())
    message = f"{path} is damaged; restore it, or give --restart to start the search again."
    with pytest.raises(ConfigError, match=re.escape(message)):
        open_journal()


def test_a_journal_that_cannot_be_written(open_journal, base, tmp_path):
    journal = open_journal()
    os.rename(tmp_path / "journal.log", tmp_path / "moved")
    (tmp_path / "journal.log").mkdir()
    with pytest.raises(TrainingError, match=r"journal.log cannot be written: Is a directory\.$"):
        finish(journal, journal.propose(base))


def test_optuna_is_missing(monkeypatch):
    original = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] == "optuna":
            raise ModuleNotFoundError("No module named 'optuna'", name="optuna")
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    message = "The package optuna is not installed; get it with pip install 'tfrec-attn[search]'."
    with pytest.raises(ConfigError, match=re.escape(message)):
        import_optuna()
