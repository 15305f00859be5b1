"""Nothing of the machine that trains, and no user with what he did, travels with a servable."""

import contextlib
import io
import os
import socket
import tempfile
from pathlib import Path

import pytest

from export.command import export
from export.shared_config import without_paths
from tfrec_attn import config as configuration
from tfrec_attn import models, train


@pytest.fixture(scope="module", params=models.names())
def exported(request, tmp_path_factory):
    """(name of the model, folder of its log and run, folder of the version), with ids that are nowhere else."""
    folder = tmp_path_factory.mktemp("place-of-the-training")
    lines = [f"person-{user},thing-{(7 * user + 3 * time) % 20},{100 * user + time}" for user in range(12) for time in range(8)]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n", encoding="utf-8")
    causal = models.get(request.param).trains_at_every_position()
    config = {
        "data": {"source": "file", "path": str(folder / "log.csv"), "max_length": 3, "targets": 2},
        "model": {"name": request.param, "dim": 4},
        "train": {"epochs": 1, "batch_size": 32, "negatives": 2, "loss": "softmax" if causal else "hinge"},
        "evaluate": {"bootstrap": 10},
        "run_dir": str(folder / "run"),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        run = train.train(configuration.from_dict(config))
        return request.param, folder, export(run, tmp_path_factory.mktemp("servables") / "shop")


def test_no_file_has_a_path_of_the_machine_or_its_name(exported):
    _, folder, version = exported
    places = {
        str(folder),
        folder.name,
        str(Path.home()),
        os.getcwd(),
        tempfile.gettempdir(),
        str(Path(__file__).parents[2]),
        socket.gethostname(),
    }
    files = [path for path in version.rglob("*") if path.is_file()]
    assert len(files) > 7
    for path in files:
        content = path.read_bytes()
        assert [place for place in places if len(place) > 2 and place.encode() in content] == [], path.name


def test_no_file_but_the_table_of_users_has_a_user(exported):
    name, _, version = exported
    with_users = {path.name for path in version.rglob("*") if path.is_file() and b"person-" in path.read_bytes()}
    assert with_users == ({"users.txt"} if models.get(name).uses_user else set())


def test_of_paths_only_the_last_part_is_left():
    config = configuration.to_dict(
        configuration.from_dict(
            {
                "data": {"source": "~/prepared/", "schema": "../schema.pbtxt", "columns": {"item": "shop/item"}, "names": ["a/b", "c"]},
                "train": {"warm_start": "/home/me/runs/old"},
                "run_dir": "runs/new",
            }
        )
    )
    found = without_paths({**config, "more": ["C:\\logs\\x.csv", 3, None, "s3://bucket/parts/*.csv"]})
    assert (found["data"]["source"], found["data"]["schema"], found["train"]["warm_start"]) == ("prepared", "schema.pbtxt", "old")
    assert (found["run_dir"], found["more"]) == ("new", ["x.csv", 3, None, "*.csv"])
    assert (found["data"]["columns"], found["data"]["names"]) == (config["data"]["columns"], ["a/b", "c"])
    assert found["model"] == config["model"] and found["evaluate"] == config["evaluate"]
