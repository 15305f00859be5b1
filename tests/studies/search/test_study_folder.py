"""The folder of a study: which one it holds, and what else may be in it."""

import json
import os
import re

import pytest

from tfrec_attn import config as configuration
from tfrec_attn.errors import ConfigError
from tfrec_attn.studies.search.search_space import SearchSpace
from tfrec_attn.studies.search.study_folder import STUDY, StudyFolder, describe_study
from tfrec_attn.studies.search.value_ranges import Choices, Range
from tfrec_attn.training.training_run import resolve

RANGES = {"model.dim": Choices([4, None]), "train.l2": Range(0.0, 0.5, 0.1)}


def study(*overrides, ranges=RANGES, seed=1, prune_after=5, log="aa"):
    config = resolve(configuration.load(None, ["data.event_weights={x: 1}", *EVENT, *overrides]))
    return describe_study(config, SearchSpace(ranges), seed, prune_after, log)


EVENT = ["data.columns.event=kind"]


def leave(folder, with_trials=True):
    """Ends the work in a folder, after a trial."""
    if with_trials:
        (folder.path / "trials.csv").write_text("trial\n")
    folder.leave()


def test_a_study_is_found_again(tmp_path):
    path = tmp_path / "deep" / "study"
    leave(StudyFolder(path, study()))
    # Where runs are written does not matter.
    folder = StudyFolder(path, study("run_dir=elsewhere"))
    assert (path / "trials.csv").exists() and folder.trial == path / "trial"
    folder.leave()
    keys = json.loads((path / STUDY).read_text())
    assert keys["data.event_weights.x"] == 1.0
    assert keys["search.model.dim"] == {"choices": [4, None]}


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (study("train.epochs=7"), "another study, with train.epochs=30, not 7;"),
        (study("model.max_norm=null"), "with model.max_norm=1.0, not None;"),
        (study(seed=2), "with --seed=1, not 2;"),
        (study(prune_after=None), "with --prune-after=5, not None;"),
        (study(log="bb"), "a study of another log, or the log has changed;"),
        (
            study(ranges={**RANGES, "model.dim": Choices([4, 8])}),
            "with search.model.dim={'choices': [4, None]}, not {'choices': [4, 8]};",
        ),
        (
            study(ranges={**RANGES, "train.margin": Range(0.0, 1.0)}),
            "with search.train.margin=nothing, not {'low': 0.0, 'high': 1.0};",
        ),
        (study(ranges={"train.l2": RANGES["train.l2"]}), "with search.model.dim={"),
    ],
)
def test_another_study(tmp_path, other, difference):
    leave(StudyFolder(tmp_path / "study", study()))
    before = (tmp_path / "study" / STUDY).read_bytes()
    remedy = "give --restart to remove its study, or name another folder with --to."
    with pytest.raises(ConfigError, match=re.escape(difference)) as caught:
        StudyFolder(tmp_path / "study", other)
    assert str(caught.value).startswith(f"{tmp_path / 'study'} holds ")
    assert str(caught.value).endswith(remedy)
    assert (tmp_path / "study" / STUDY).read_bytes() == before
    # It is removed on demand.
    folder = StudyFolder(tmp_path / "study", other, restart=True)
    assert sorted(os.listdir(tmp_path / "study")) == ["lock", STUDY]
    assert json.loads((tmp_path / "study" / STUDY).read_text()) == other
    folder.leave()


def test_a_study_without_trials_leaves_nothing(tmp_path):
    StudyFolder(tmp_path / "deep" / "study", study()).leave()
    assert list(tmp_path.iterdir()) == []
    # A checkpoint is a beginning.
    folder = StudyFolder(tmp_path / "study", study())
    (folder.trial / "checkpoints" / "last-000000004").mkdir(parents=True)
    assert folder.has_trials()
    folder.leave()
    assert folder.trial.exists()


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_of_somebody_else(tmp_path, restart):
    (tmp_path / "precious.txt").write_text("mine")
    message = (
        f"{tmp_path} is not an unfinished search of this program; move it away, or name another "
        "folder with --to"
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        StudyFolder(tmp_path, study(), restart)
    assert os.listdir(tmp_path) == ["precious.txt"]


def test_a_foreign_file_is_not_removed(tmp_path):
    leave(StudyFolder(tmp_path / "study", study()))
    (tmp_path / "study" / "notes.txt").write_text("mine")
    before = sorted(os.listdir(tmp_path / "study"))
    with pytest.raises(ConfigError, match="was not written by this program, so"):
        StudyFolder(tmp_path / "study", study(), restart=True)
    assert sorted(os.listdir(tmp_path / "study")) == before


def test_one_process_at_a_time(tmp_path):
    folder = StudyFolder(tmp_path / "study", study())
    path = tmp_path / "study"
    message = f"{path} is in use by another process; wait until it ends, or name another folder"
    with pytest.raises(ConfigError, match=re.escape(message)):
        StudyFolder(tmp_path / "study", study())
    folder.leave()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file/study cannot be written: Not a directory"):
        StudyFolder(tmp_path / "file" / "study", study())


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, "3"])
def test_a_damaged_study(tmp_path, text):
    leave(StudyFolder(tmp_path / "study", study()))
    (tmp_path / "study" / STUDY).write_text(text)
    with pytest.raises(ConfigError, match=r"study.json cannot be read; give --restart to remove"):
        StudyFolder(tmp_path / "study", study())


def test_trials_of_an_unknown_study_stay(tmp_path):
    path = tmp_path / "study"
    leave(StudyFolder(path, study()))
    (path / STUDY).unlink()
    (path / "trials.csv").write_text("trial\n1\n")
    with pytest.raises(ConfigError) as caught:
        StudyFolder(path, study())
    assert str(caught.value) == (
        f"{path} has trials, but no study.json that tells of which search; give --restart to "
        "remove its study, or name another folder with --to."
    )
    assert sorted(os.listdir(path)) == ["lock", "trials.csv"]
    StudyFolder(path, study(), restart=True).leave()
    assert not path.exists() or sorted(os.listdir(path)) == ["lock", STUDY]


def test_the_lock_of_a_killed_process_is_removed(tmp_path):
    leave(StudyFolder(tmp_path / "study", study()))
    lock = tmp_path / "study" / "journal.log.lock"
    lock.write_text("")
    folder = StudyFolder(tmp_path / "study", study())
    assert not lock.exists()
    folder.leave()
