"""Rolling a label back: which version is chosen, what changes, and that nothing does on errors."""

import fcntl
import json
import os
import shutil

import pytest

from serving import rollback
from serving.checks import labels, model_config_file
from serving.clients.responses import ClientError
from serving.local_server import LocalServer
from serving.server.model_config import ModelConfig, VersionPolicy
from serving.server.model_store import ModelStore
from tfrec_attn.files.checksums import SERVABLE_SUMS, seal

CONFIG = """# Models.
model_config_list {{
  config {{
    name: "toy" base_path: "{folder}" model_platform: "tensorflow"
    model_version_policy {{
      specific {{
        {versions}
      }}
    }}
    version_labels {{ key: "stable" value: {stable} }}  # In service.
    version_labels {{ key: "canary" value: 3 }}{more}
  }}
}}
"""
PREVIOUS = '\n    version_labels {{ key: "previous" value: {} }}'


def config_of(folder, stable, versions=(2, 3), previous=None):
    return CONFIG.format(
        folder=folder,
        versions="\n        ".join(f"versions: {one}" for one in versions),
        stable=stable,
        more="" if previous is None else PREVIOUS.format(previous),
    )


@pytest.fixture(scope="module")
def versions(toy, tmp_path_factory):
    """A server of the versions 1 to 3 of a small model."""
    folder = tmp_path_factory.mktemp("versions") / "toy"
    for number in ("1", "2", "3"):
        shutil.copytree(toy / "1", folder / number)
        (folder / number / "assets.extra").mkdir()
        (folder / number / "assets" / "items.txt").parent.mkdir(exist_ok=True)
        (folder / number / "assets" / "items.txt").write_text("i1\n")
        files = [one for one in (folder / number).rglob("*") if one.is_file()]
        seal(
            folder / number, [str(one.relative_to(folder / number)) for one in files], SERVABLE_SUMS
        )
    store = ModelStore([ModelConfig("toy", folder, VersionPolicy(specific=(2, 3)))], poll=60)
    server = LocalServer(store, port=0, rest_port=None)
    server.start()
    yield server, folder
    server.stop(grace=5)


@pytest.fixture
def command(versions, tmp_path, capsys):
    """A function that runs the command after the server was set to a configuration.

    `command(*options, stable=3, versions=(2, 3), previous=None)` returns (code, stdout, stderr).
    """
    server, folder = versions
    config = tmp_path / "models.config"

    def run(*options, stable=3, versions=(2, 3), previous=None, target=None):
        config.write_text(config_of(folder, stable, versions, previous))
        known = {"stable": stable, "canary": 3}
        known |= {} if previous is None else {"previous": previous}
        policy = VersionPolicy(specific=(1, 2, 3))
        server.store.reload([ModelConfig("toy", None, policy, known)])
        server.store.reload([ModelConfig("toy", None, VersionPolicy(specific=versions), known)])
        target = target or f"127.0.0.1:{server.grpc_port}"
        common = ["--target", target, "--model", "toy", "--config", str(config)]
        code = rollback.main([*common, *options])
        return code, *capsys.readouterr()

    run.config, run.folder, run.server = config, folder, server
    return run


def test_the_next_lower_version(command):
    code, out, error = command()
    assert (code, error) == (0, "")
    where = f"127.0.0.1:{command.server.grpc_port}"
    assert out == f"stable moved from version 3 to 2 on {where} and in {command.config}.\n"
    assert command.server.store.labels("toy") == {"stable": 2, "canary": 3}
    assert command.config.read_text() == config_of(command.folder, stable=2)
    assert [one.name for one in command.config.parent.iterdir()] == ["models.config"]


def test_the_version_that_was_stable_before(command):
    # Version 2 lies between, and was never stable; version 1 is not loaded.
    assert command(previous=1, versions=(1, 3))[0] == 0
    assert command(previous=1)[0] == 0
    assert command.server.store.labels("toy") == {"stable": 1, "canary": 3, "previous": 1}
    assert command.server.store.available("toy") == [1, 2, 3]
    expected = config_of(command.folder, stable=1, versions=(1, 2, 3), previous=1)
    assert command.config.read_text() == expected


def test_a_named_version(command):
    code, out, _ = command("--to", "1", "--json")
    assert (code, json.loads(out)) == (0, {"model": "toy", "label": "stable", "from": 3, "to": 1})
    assert command("--to", "3")[:2] == (0, "stable is version 3 already: nothing to move.\n")
    assert command("--label", "canary", "--to", "2")[0] == 0
    assert command.server.store.labels("toy") == {"stable": 3, "canary": 2}


def assert_nothing_moved(command, result, code, words, **now):
    assert result[:2] == (code, "")
    error = result[2]
    assert error.startswith("error: ") and error.endswith(".\n") and error.count("\n") == 1
    assert words in error
    before = {"stable": 3, **now}
    assert command.server.store.labels("toy")["stable"] == before["stable"]
    assert command.config.read_text() == config_of(command.folder, **before)


def test_no_version_to_go_back_to(command):
    refused = command(stable=1, versions=(1, 3))
    words = "stable is version 1, and there is no older one (there are 2, 3); name a version with"
    assert_nothing_moved(command, refused, 2, words, stable=1, versions=(1, 3))
    refused = command(previous=3)
    words = "previous is version 3 too, so that there is nothing to go back to; name a version"
    assert_nothing_moved(command, refused, 2, words, previous=3)
    refused = command("--to", "7")
    assert_nothing_moved(command, refused, 2, "version 7 of toy has no folder; name another")


def test_a_damaged_version(command):
    file = command.folder / "2" / "assets" / "items.txt"
    file.write_text("i2\n")
    try:
        refused = command()
    finally:
        file.write_text("i1\n")
    words = f"version 2 is damaged, {file} is not what was written; name another with --to."
    assert_nothing_moved(command, refused, 2, words)


def test_a_version_that_cannot_be_loaded(command):
    (command.folder / "4").mkdir()
    (command.folder / "4" / "saved_model.pb").write_bytes(b"no model")
    try:
        refused = command("--to", "4")
    finally:
        shutil.rmtree(command.folder / "4")
    assert_nothing_moved(command, refused, 1, "does not serve version 4 of toy (")
    assert command.server.store.available("toy") == [2, 3]
    refused = command("--to", "1", "--load-seconds", "0", "--model", "toy", target="127.0.0.1:1")
    assert_nothing_moved(command, refused, 1, "No server answers at 127.0.0.1:1")


def test_the_configuration_changes_meanwhile(command, monkeypatch):
    reload = labels.LabelledModel._reload

    def changing(model, config):
        reload(model, config)
        command.config.write_text("# Mine.\n" + config_of(command.folder, stable=3))

    monkeypatch.setattr(labels.LabelledModel, "_reload", changing)
    code, out, error = command()
    assert (code, out) == (2, "")
    assert "models.config has changed since it was read; look at it, and run the" in error
    assert command.config.read_text().startswith("# Mine.\n")
    assert command.server.store.labels("toy")["stable"] == 3


def test_another_command_changes_the_configuration(command):
    folder = os.open(command.config.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        refused = command()
    finally:
        os.close(folder)
    assert_nothing_moved(command, refused, 2, "is being changed by another command; run this one")


def test_list(command, capsys):
    command("--to", "3", previous=2)
    common = ["--list", "--model", "toy", "--config", str(command.config)]
    saved = command.folder / "2" / "saved_model.pb"
    saved.rename(saved.with_name("gone"))
    try:
        assert rollback.main(common) == 0
    finally:
        saved.with_name("gone").rename(saved)
    assert [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()] == [
        ["version", "labels"],
        ["1", "-", "complete"],
        ["2", "previous", f"{command.folder}/2 has no saved_model.pb"],
        ["3", "canary,stable", "complete"],
    ]
    assert rollback.main([*common, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[2] == {"version": 3, "labels": ["canary", "stable"], "damage": None}


def test_what_cannot_be_used(tmp_path, capsys):
    def refused(*options):
        assert rollback.main(["--model", "toy", *options]) == 2
        return capsys.readouterr().err

    config = tmp_path / "models.config"
    config.write_text(config_of("/models/toy", stable=3))
    error = refused("--config", str(config))
    assert error == "error: --target must be the HOST:PORT of the server; give it, or --list.\n"
    error = refused("--config", str(config), "--list")
    assert error.startswith(f"error: base_path of {config}, /models/toy cannot be read (No such")
    assert error.endswith("; give --folder, the folder of the versions on this machine.\n")
    error = refused("--config", str(config), "--model", "x", "--list")
    assert "must have the model x once, but has toy; give the file" in error
    assert "cannot be read as a ModelServerConfig" in refused("--config", "/nothing", "--list")


def test_a_configuration_without_the_label_is_written_anew(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(config_of("/models/toy", stable=3))
    file = model_config_file.ModelConfigFile(path, "toy")
    file.write(file.changed({"previous": 2}, [2, 3, 4]))
    assert path.read_text().startswith("# Models.\nmodel_config_list {\n")
    again = model_config_file.ModelConfigFile(path, "toy")
    assert again.labels == {"stable": 3, "canary": 3, "previous": 2}
    assert again.specific == [2, 3, 4]
    path.write_text("# Models.\n" + path.read_text())
    again.restore(("ignored", "because the file is another now"))
    assert path.read_text().startswith("# Models.\n# Models.\n")


def test_a_server_may_take_its_time_to_load(tmp_path, monkeypatch):
    path = tmp_path / "models.config"
    path.write_text(config_of(tmp_path, 3))
    waited = []

    def ask(self, stub, method, request, seconds=None):
        waited.append(seconds)
        raise ClientError("UNAVAILABLE", "none")

    monkeypatch.setattr(labels.LabelledModel, "_ask", ask)
    with pytest.raises(ClientError):
        labels.LabelledModel("here:1", "toy", path).move({"stable": 1}, seconds=99.0)
    assert set(waited) == {99.0}
    assert path.read_text() == config_of(tmp_path, 3)
