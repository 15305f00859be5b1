"""The choice of the run directory, and what stays in it; the training itself is a stub."""

import json
from pathlib import Path

import pytest

from tests.commands import run_command, tree
from tfrec_attn import config as configuration
from tfrec_attn import train
from tfrec_attn.data.sequences.splits import split_checksum
from tfrec_attn.errors import ConfigError
from tfrec_attn.files.work_folder import foreign_paths
from tfrec_attn.runs import run
from tfrec_attn.runs.partial_run import KNOWN
from tfrec_attn.runs.run_dir import open_run
from tfrec_attn.training import training_run

TINY = ["data.events=2000"]


def command(*arguments):
    return run_command(train.main, *TINY, *arguments)


class Stopped(BaseException):
    """Stands for SIGKILL in this process."""


class Training:
    """A stub of `_train_into`.

    Attributes:
        calls: Number of calls.
        stops: Whether it is killed after a checkpoint.
    """

    def __init__(self):
        self.calls, self.stops = 0, False

    def __call__(self, folder, config, data, *_):
        self.calls += 1
        (folder / "checkpoints" / "last-000000001").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / "last-000000001" / "progress.json").write_text("{}")
        if self.stops:
            raise Stopped
        (folder / "metrics.json").write_text(
            json.dumps({"data": {"sha256": split_checksum(data.split)}, "call": self.calls})
        )


@pytest.fixture
def training(monkeypatch):
    made = Training()
    monkeypatch.setattr(training_run, "_train_into", made)
    return made


def foreign(folder):
    for name in (
        "thesis.txt",
        "config.yaml",
        "checkpoints/last-000000001/model.bin",
        "vocabulary/users.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("train: {epochs: 7}")
    return folder


def call_of(folder):
    return json.loads((folder / "metrics.json").read_text())["call"]


def sentence(found, code=2):
    assert found[0] == code and found[2].startswith("error: ") and found[2].count("\n") == 1
    return found[2].removeprefix("error: ").rstrip("\n")


# --- Foreign folders ---


@pytest.mark.parametrize("restart", [[], ["--restart"]])
@pytest.mark.parametrize("link", [False, True])
def test_a_foreign_folder_of_the_same_name_stays(training, tmp_path, restart, link):
    other = foreign(tmp_path / ("elsewhere" if link else "run.partial"))
    if link:
        (tmp_path / "run.partial").symlink_to(other)
    before = tree(other)
    what = "a symbolic link" if link else "not an unfinished run of this program"
    run_dir = f"run_dir={tmp_path / 'run'}"
    assert (
        sentence(command(run_dir, *restart))
        == f"{tmp_path / 'run.partial'} is {what}; move it away, or name another run_dir."
    )
    assert "no.csv" in sentence(command("data.source=file", "data.path=no.csv", run_dir, *restart))
    assert tree(other) == before
    assert training.calls == 0


@pytest.mark.parametrize("restart", [[], ["--restart"]])
@pytest.mark.parametrize("kind", ["folder", "empty", "file", "link", "dangling link"])
def test_a_foreign_target_stays(training, tmp_path, restart, kind):
    target = tmp_path / "run"
    if kind == "folder":
        foreign(target)
    elif kind == "empty":
        target.mkdir()
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(
            foreign(tmp_path / "elsewhere") if kind == "link" else tmp_path / "nowhere"
        )
    before = tree(tmp_path)
    message = sentence(command(f"run_dir={target}", *restart))
    assert message.startswith(f"run_dir {target} exists: it is ") and message.endswith(
        "name another run_dir, or move it away."
    )
    assert tree(tmp_path) == before and training.calls == 0


def test_default_names_skip_foreign_folders(training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    foreign(tmp_path / "runs" / "synthetic-attrec.partial")
    foreign(tmp_path / "runs" / "synthetic-attrec-2")
    before = tree(tmp_path)
    assert command()[0] == 0
    assert (tmp_path / "runs" / "synthetic-attrec-3" / "metrics.json").exists()
    assert before.items() <= tree(tmp_path).items()


@pytest.mark.parametrize("place", [".", "/"])
def test_a_run_dir_without_a_name(training, place):
    assert (
        sentence(command(f"run_dir={place}"))
        == f"run_dir must name a folder, but is {place}; name another run_dir."
    )


# --- Unfinished runs ---


@pytest.fixture
def unfinished(training, tmp_path):
    training.stops = True
    with pytest.raises(Stopped):
        command(f"run_dir={tmp_path / 'run'}")
    training.stops = False
    return tmp_path / "run.partial"


def test_only_restart_removes_an_unfinished_run(training, unfinished):
    run_dir, before = f"run_dir={unfinished.with_suffix('')}", tree(unfinished)
    assert "holds an unfinished training with train.epochs=" in sentence(
        command(run_dir, "train.epochs=7")
    )
    assert "The log is not the one" in sentence(command_with_other_data(run_dir, unfinished))
    assert "does not exist" in sentence(
        command(run_dir, "data.source=file", f"data.path={unfinished}/no.csv", "--restart")
    )
    assert tree(unfinished) == before
    assert command(run_dir, "train.epochs=7", "--restart")[0] == 0
    assert "epochs: 7" in (unfinished.with_suffix("") / "config.yaml").read_text()
    assert not unfinished.exists()


def command_with_other_data(run_dir, unfinished):
    note = unfinished / "data.sha256"
    digest = note.read_text()
    note.write_text("0" * 64)
    found = command(run_dir)
    note.write_text(digest)
    return found


def test_a_file_put_into_an_unfinished_run_stays(training, unfinished):
    notes, target = unfinished / "checkpoints" / "notes.txt", unfinished.with_suffix("")
    notes.write_text("mine")
    before = tree(unfinished)
    assert sentence(command(f"run_dir={target}", "--restart")) == (
        f"{notes} was not written by this program, so --restart removes nothing; "
        f"move it away, or name another run_dir."
    )
    assert tree(unfinished) == before
    assert command(f"run_dir={target}")[0] == 0
    assert (target / "checkpoints" / "notes.txt").read_text() == "mine"


def test_a_link_in_an_unfinished_run_is_not_followed(training, unfinished, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (unfinished / "rejected.tsv").symlink_to(tmp_path / "mine")
    for restart in ([], ["--restart"]):
        assert "rejected.tsv " in sentence(command(f"run_dir={tmp_path / 'run'}", *restart))
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_run_that_is_killed_while_it_is_renamed(training, tmp_path, monkeypatch):
    run_dir = f"run_dir={tmp_path / 'run'}"
    rename = Path.rename

    def renamed_and_killed(path, target):
        rename(path, target)
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Path, "rename", renamed_and_killed)
        command(run_dir)
    assert command(run_dir)[0] == 0 and training.calls == 1
    assert {"lock", "data.sha256"}.isdisjoint(tree(tmp_path / "run"))


def test_default_names_of_unfinished_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = training_run.resolve(configuration.load(None, ["train.epochs=3"]))
    other = training_run.resolve(configuration.load(None, ["train.epochs=4"]))
    split = run.prepare_data(config).split
    (tmp_path / "runs" / "synthetic-attrec").mkdir(parents=True)

    def folder_of(config):
        partial = open_run(config, split)
        (partial.folder / "checkpoints" / "last-000000001").mkdir(parents=True, exist_ok=True)
        partial.leave()
        return str(partial.folder)

    assert folder_of(config) == "runs/synthetic-attrec-2.partial"
    assert folder_of(other) == "runs/synthetic-attrec-3.partial"
    assert folder_of(config) == "runs/synthetic-attrec-2.partial"
    # A busy folder of another configuration is skipped, one of the same is not.
    partial = open_run(config, split)
    assert folder_of(other) == "runs/synthetic-attrec-3.partial"
    with pytest.raises(ConfigError, match="is being trained by another process"):
        open_run(config, split)
    partial.finish()
    assert folder_of(config) == "runs/synthetic-attrec-4.partial"


# --- Finished runs ---


def test_the_same_command_again_is_complete(training, tmp_path):
    target = tmp_path / "run"
    assert command(f"run_dir={target}")[0] == 0
    before = tree(tmp_path)
    code, out, error = command(f"run_dir={target}")
    assert (code, error, training.calls) == (0, "", 1)
    assert f"{target} is already complete" in out and "--restart" in out
    assert f"Next: python -m tfrec_attn.report {target}\n" in out
    message = sentence(command(f"run_dir={target}", "train.epochs=7"))
    assert (
        message.startswith(f"run_dir {target} exists: it is a finished run with train.epochs=")
        and "--restart to replace it" in message
    )
    assert tree(tmp_path) == before


def test_default_names_of_complete_runs(training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, name in (
        ([], "-attrec"),
        (["train.epochs=7"], "-attrec-2"),
        ([], "-attrec"),
        (["train.epochs=7"], "-attrec-2"),
    ):
        code, out, _ = command(*arguments)
        assert code == 0 and f"report runs/synthetic{name}\n" in out
    assert training.calls == 2
    # Only the run of this configuration is replaced.
    assert command("train.epochs=7", "--restart")[0] == 0
    assert [
        call_of(tmp_path / "runs" / name) for name in ("synthetic-attrec", "synthetic-attrec-2")
    ] == [1, 3]
    assert command("train.epochs=8", "--restart")[0] == 0
    assert call_of(tmp_path / "runs" / "synthetic-attrec-3") == 4
    assert len(list((tmp_path / "runs").iterdir())) == 3


def log_of(path, users):
    rows = [
        f"u{user},i{(user * 7 + event) % 13},{event}"
        for user in range(users)
        for event in range(20)
    ]
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")


def test_a_run_of_another_log_is_not_complete(training, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log_of(tmp_path / "log.csv", 20)
    arguments = ["data.source=file", "data.path=log.csv"]
    assert command(*arguments, "run_dir=run")[0] == command(*arguments)[0] == 0
    log_of(tmp_path / "log.csv", 21)
    assert "run_dir run exists: it is a finished run of another log" in sentence(
        command(*arguments, "run_dir=run")
    )
    assert "report runs/log-attrec-2\n" in command(*arguments)[1]
    assert call_of(tmp_path / "run") == 1


def test_restart_replaces_a_finished_run_once_the_new_one_is_complete(training, tmp_path):
    target, run_dir = tmp_path / "run", f"run_dir={tmp_path / 'run'}"
    command(run_dir)
    training.stops = True
    with pytest.raises(Stopped):
        command(run_dir, "--restart")
    assert call_of(target) == 1
    training.stops = False
    # The same command resumes the run that --restart has started.
    assert command(run_dir)[0] == 0
    assert call_of(target) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    assert "replaced" not in [entry.name for entry in target.iterdir()]


def test_restart_leaves_a_finished_run_with_a_foreign_file(training, tmp_path):
    target = tmp_path / "run"
    command(f"run_dir={target}")
    (target / "plots").mkdir()
    (target / "plots" / "mine.png").write_text("mine")
    before = tree(tmp_path)
    assert f"{target / 'plots'} was not written by this program" in sentence(
        command(f"run_dir={target}", "--restart")
    )
    assert tree(tmp_path) == before and training.calls == 1


def test_all_files_of_a_training_are_known(tmp_path):
    assert (
        command(
            "train.epochs=1", "model.dim=4", "train.batch_size=512", f"run_dir={tmp_path / 'run'}"
        )[0]
        == 0
    )
    assert foreign_paths(tmp_path / "run", KNOWN) == []
