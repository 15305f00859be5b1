"""The command search: trials on the synthetic log, their files, interruptions, and bad input."""

import csv
import errno
import os
import re
import shlex
import signal

import pytest
import tensorflow as tf

from tests.commands import assert_refused, metrics_of, run_command
from tfrec_attn import config as configuration
from tfrec_attn import models, search, train
from tfrec_attn.config.config_files import packaged, read_config_file
from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.studies.search.search_space import SearchSpace
from tfrec_attn.studies.search.trial_journal import ProposedTrial
from tfrec_attn.studies.search.trial_training import Pruned, TrialTraining
from tfrec_attn.training import training_run

# Functions of tf.data are traced.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")

# 33 users with 159 items; two steps an epoch.
TINY = [
    *("model.name=sasrec", "model.dim=4", "model.num_blocks=1", "model.dropout=0.2"),
    *("data.events=1000", "data.max_length=4", "train.batch_size=17", "train.epochs=2"),
    *("evaluate.k=[10]", "evaluate.bootstrap=0", "runtime.steps_per_execution=1"),
]
SPACE = [
    "search.train.learning_rate={low: 1e-3, high: 0.1, log: true}",
    "search.train.loss={choices: [softmax, bce]}",
]
KEYS = ["train.learning_rate", "train.loss"]


@pytest.fixture(scope="module", autouse=True)
def _eagerly():
    """Trains without tracing, which takes longer than the steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def table(folder):
    with open(folder / "trials.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def without_seconds(folder):
    return [{**row, "seconds": ""} for row in table(folder)]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, arguments, stdout, ranked parts) of a search of two trials."""
    folder, parts = tmp_path_factory.mktemp("searched") / "study", []
    arguments = [*TINY, *SPACE, "--trials=2", f"--to={folder}"]

    def held_out(self, split, part, **options):
        original(self, split, part, **options)
        parts.append((part, len(self)))

    original = HeldOut.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeldOut, "__init__", held_out)
        code, out, error = run_command(search.main, *arguments)
    assert (code, error) == (0, "")
    return folder, arguments, out, parts


def test_files_of_a_search(searched):
    folder, _, out, _ = searched
    files = ["best.yaml", "journal.log", "lock", "study.json", "trials.csv"]
    assert sorted(os.listdir(folder)) == files
    rows = table(folder)
    assert [row["trial"] for row in rows] == ["1", "2"]
    assert {row["state"] for row in rows} == {"completed"}
    # The first trial is the configuration itself, with the settings recommended for SASRec.
    assert [rows[0][key] for key in KEYS] == ["0.002", "softmax"]
    assert len({tuple(row[key] for key in KEYS) for row in rows}) == 2
    assert all(0 < float(row["MRR"]) <= 1 and float(row["seconds"]) > 0 for row in rows)
    best = max(rows, key=lambda row: float(row["MRR"]))
    lines = out.splitlines()
    assert lines[-6].split()[:2] == ["trial", best["trial"]]
    assert re.fullmatch(r"2 trials \(2 completed, 0 pruned, 0 failed\), \d+ s\.", lines[-3])
    assert lines[-1] == f"Next: python -m tfrec_attn.train {folder / 'best.yaml'}"


def test_the_test_events_are_not_looked_at(searched):
    assert [size for part, size in searched[3] if part == "test"] == [0]
    assert {size for part, size in searched[3] if part == "valid"} == {33}


def test_the_best_configuration_trains_to_the_same_metrics(searched, tmp_path):
    folder, arguments, _, _ = searched
    text = (folder / "best.yaml").read_text()
    assert f"#   python -m tfrec_attn.search {shlex.join(map(str, arguments))}\n" in text
    best = max(table(folder), key=lambda row: float(row["MRR"]))
    assert f"MRR {float(best['MRR']):.4f}" in text
    assert f"epoch {best['best_epoch']} of {best['epochs']}, seed 1" in text
    code, _, error = run_command(train.main, folder / "best.yaml", f"run_dir={tmp_path / 'run'}")
    assert (code, error) == (0, "")
    report = metrics_of(tmp_path / "run")
    assert report["valid"] == pytest.approx({name: float(best[name]) for name in report["valid"]})
    assert str(report["best_epoch"]) == best["best_epoch"]
    assert str(report["parameters"]) == best["parameters"]


def test_a_complete_search_trains_nothing(searched, monkeypatch):
    folder, arguments, out, _ = searched
    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(TrialTraining, "run", None)
    code, again, error = run_command(search.main, *arguments)
    assert (code, error) == (0, "")
    assert f"Resuming {folder} after trial 2.\n\nvalidation" in again
    assert again.endswith(out[out.index("\nvalidation") :])
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    # A budget of seconds is that of all trials.
    by_seconds = [text for text in arguments if not text.startswith("--trials")]
    code, again, _ = run_command(search.main, *by_seconds, "--seconds=0.5")
    assert code == 0 and "2 trials (2 completed" in again


def test_an_interrupted_search_is_resumed(searched, tmp_path, monkeypatch):
    original, epochs = ProposedTrial.report, []

    def report(self, progress, config):
        original(self, progress, config)
        epochs.append(progress.epoch)
        if len(epochs) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ProposedTrial, "report", report)
    folder = tmp_path / "study"
    arguments = [*TINY, *SPACE, f"--to={folder}"]
    code, _, error = run_command(search.main, *arguments, "--trials=2")
    assert code == 130
    assert error == (
        f"stopped by SIGINT; the trials are in {folder}, and the same command resumes the search.\n"
    )
    # The signal came after the first of two epochs, and is noticed after a step of the second.
    assert epochs == [1, 2, 1]
    assert without_seconds(folder) == without_seconds(searched[0])[:1]
    assert list(folder.glob("trial/checkpoints/last-*3"))
    code, _, error = run_command(search.main, *arguments, "--trials=2")
    assert (code, error) == (0, "")
    # The epoch that is done is reported, not trained.
    assert epochs == [1, 2, 1, 1, 2]
    assert without_seconds(folder) == without_seconds(searched[0])[:2]
    assert not (folder / "trial").exists()


def test_pruned_and_failed_trials(tmp_path, monkeypatch):
    def report(self, progress, config):
        raise Pruned

    monkeypatch.setattr(ProposedTrial, "report", report)
    space = ["train.loss=bce", "train.negatives=2", "search.train.negatives={choices: [2, 9999]}"]
    result = run_command(search.main, *TINY, *space, f"--to={tmp_path / 'study'}")
    failure = "train.negatives must be at most the number of items, 159, but is 9999"
    where = f"the trials are in {tmp_path / 'study'}, and the same command resumes the search"
    assert_refused(result, 1, f"error: No trial was completed: {failure}; {where}.")
    lines = result[1].splitlines()
    assert re.fullmatch(r"  pruned after epoch 1, MRR 0\.\d{4}, \d+ s", lines[3])
    assert lines[4] == "trial 2: train.negatives=9999"
    assert re.fullmatch(re.escape(f"  failed: {failure}, ") + r"\d+ s", lines[5])
    assert lines[7].startswith("2 trials (0 completed, 1 pruned, 1 failed), ")
    rows = table(tmp_path / "study")
    assert [(row["state"], row["epochs"], row["error"]) for row in rows] == [
        ("pruned", "1", ""),
        ("failed", "0", f"{failure}."),
    ]
    assert not (tmp_path / "study" / "best.yaml").exists()
    assert not (tmp_path / "study" / "trial").exists()


def test_a_loss_that_is_not_finite_fails_the_trial(tmp_path):
    space = ["train.learning_rate=1e38", "search.model.dim={choices: [4, 8]}"]
    result = run_command(search.main, *TINY, *space, "--trials=1", f"--to={tmp_path / 'study'}")
    assert_refused(result, 1, "No trial was completed: The loss became", "by step", "lower train.")
    assert [row["state"] for row in table(tmp_path / "study")] == ["failed"]


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        ([], ["The search space is empty; give ranges in section search"]),
        (["search.model.dim"], ["Expected section.key=value", "'search.model.dim'"]),
        (["search.model.dims={choices: [1, 2]}"], ["model.dims; did you mean model.dim?"]),
        (["search.model.dim={choices: [1"], ["The value of search.model.dim is not YAML"]),
        (["search.model.dim={low: 8, high: 4}"], ["must have low less than high"]),
        (["train.epoch=3", *SPACE], ["train.epoch", "did you mean train.epochs?"]),
        (["missing.yaml", *SPACE], ["missing.yaml does not exist"]),
        ([*SPACE, "--trials=0"], ["--trials must be 1 or greater, but is 0."]),
        ([*SPACE, "--seconds=0"], ["--seconds must be greater than 0, but is 0."]),
        ([*SPACE, "--seed=-1"], ["--seed must be 0 or greater, but is -1."]),
        ([*SPACE, "--prune-after=-1"], ["--prune-after must be 0 or greater, but is -1."]),
        (["train.warm_start=runs/a", *SPACE], ["train.warm_start cannot be used in a search"]),
        (
            ["runtime.strategy=multi_worker", *SPACE],
            ["runtime.strategy=multi_worker cannot be used in a search, which is one process"],
        ),
        (["data.source=movielens", *SPACE], ["data.source must be one of synthetic"]),
        (["data.min_user_events=100000", *SPACE], ["data.min_user_events=100000", "lower them"]),
    ],
)
def test_bad_input_leaves_nothing(arguments, pieces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    order = arguments if arguments[:1] == ["missing.yaml"] else [*TINY, *arguments]
    assert_refused(run_command(search.main, *order), 2, *pieces)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_counts_is_refused(tmp_path):
    arguments = ["data.events=1000", "model.name=pop", *SPACE, f"--to={tmp_path / 'study'}"]
    sentence = "model.name=pop cannot be used in a search, because it counts and is not trained; "
    sentence += "compare its settings with tfrec_attn.ablation --vary."
    assert_refused(run_command(search.main, *arguments), 2, sentence)
    assert list(tmp_path.iterdir()) == []


def test_another_study_in_the_folder(searched, tmp_path):
    folder, arguments, _, _ = searched
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for argument, piece in (("train.l2=0.5", "train.l2=0.0001, not 0.5"), ("--seed=7", "--seed=1")):
        assert_refused(run_command(search.main, *arguments, argument), 2, piece, "--restart")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interruption_before_the_first_checkpoint_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, values, after_epoch):
        os.kill(os.getpid(), signal.SIGTERM)
        self._stop.check()

    monkeypatch.setattr(TrialTraining, "run", interrupted)
    result = run_command(search.main, *TINY, *SPACE, f"--to={tmp_path / 'deep' / 'study'}")
    assert (result[0], result[2]) == (143, "stopped by SIGTERM; nothing was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(searched, tmp_path, monkeypatch):
    def full(self, values, after_epoch):
        (self._folder / "checkpoints").mkdir(parents=True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder / "config.yaml"))

    monkeypatch.setattr(TrialTraining, "run", full)
    folder = tmp_path / "study"
    assert_refused(
        run_command(search.main, *TINY, *SPACE, f"--to={folder}"),
        1,
        f"error: {folder}/trial/config.yaml cannot be written: No space left on device; "
        "nothing was written.",
    )
    assert list(tmp_path.iterdir()) == []


def test_ranges_of_a_file_and_of_arguments(tmp_path, monkeypatch):
    found = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "search", lambda study, **_: found.append(study) or tmp_path)
    (tmp_path / "base.yaml").write_text(
        "model: {dim: 8}\n"
        "search:\n"
        "  model.dim: {choices: [4, 8]}\n"
        "  train.l2: {low: 0, high: 1}\n"
        "  train.margin: {low: 0, high: 1}\n"
    )
    arguments = ["base.yaml", "search.train.l2=", "search.train.margin={low: 0, high: 2}"]
    assert run_command(search.main, *arguments, "train.epochs=3")[0] == 0
    (study,) = found
    space = SearchSpace.parse(study.ranges, training_run.resolve(study.config))
    assert {key: str(one) for key, one in space.ranges.items()} == {
        "model.dim": "4, 8",
        "train.margin": "0 to 2",
    }
    assert study.given == {"model": {"dim": "8"}, "train": {"epochs": "3"}}
    assert (study.trials, study.seconds, study.prune_after) == (20, None, 5)
    run_command(search.main, "base.yaml", "--seconds=9", "--no-pruning")
    assert (found[1].trials, found[1].seconds, found[1].prune_after) == (None, 9.0, None)
    # The training passes over the section, but not over an argument.
    assert configuration.load("base.yaml").model.parameters == {"dim": 8}
    assert_refused(
        run_command(train.main, "base.yaml", "search.train.l2="),
        2,
        "Unknown configuration key search; valid are data, model",
    )


@pytest.mark.parametrize("name", packaged())
def test_spaces_of_the_package(name):
    tree = read_config_file(name)
    ranges = tree.pop("search", None)
    if ranges is not None:
        given = configuration.overlay(tree, ["data.path=log.csv"], models.recommended)
        base = training_run.resolve(configuration.from_dict(given))
        assert SearchSpace.parse(ranges, base).point_of(base)
