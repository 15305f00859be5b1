"""Checks of a prepared log before it is used as `data.source`."""

import json
import shutil

import numpy as np
import pytest

from tfrec_attn import config, models
from tfrec_attn.config import Data
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.shards import prepared_log
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog, is_folder
from tfrec_attn.data.shards.shard_files import read_shard
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runs import run


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    synthetic(1_500, seed=2).write_parquet(folder / "log.parquet")
    prepare_log([str(folder / "log.parquet")], folder / "out", Data(min_user_events=6), shards=3)
    return folder / "out"


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "out")


def refusal(folder, kind=DataError, **data):
    with pytest.raises(kind) as caught:
        run.prepare_data(config.from_dict({"data": {"source": str(folder), **data}}))
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


@pytest.mark.parametrize(
    "name",
    [
        "shard-00001-of-00003.tfrecord",
        "items.txt",
        "index.npz",
        "transitions.npz",
        "item_counts.npy",
    ],
)
def test_a_flipped_byte_names_the_file(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert (
        refusal(folder)
        == f"{folder}/{name} is damaged, its SHA-256 is not that of manifest.json: prepare the "
        "log again."
    )


def test_an_empty_and_a_missing_shard(folder):
    shard = folder / "shard-00002-of-00003.tfrecord"
    size = shard.stat().st_size
    shard.write_bytes(b"")
    assert refusal(folder) == f"{shard} has 0 bytes, expected {size}: prepare the log again."
    shard.unlink()
    assert refusal(folder) == f"{shard} is missing: prepare the log again."


def test_a_damaged_record_without_its_manifest(folder):
    shard = folder / "shard-00000-of-00003.tfrecord"
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    with pytest.raises(
        DataError,
        match=r"shard-00000-of-00003.tfrecord is not a shard of a prepared log .*: prepare the "
        r"log again.$",
    ):
        read_shard(shard, whole_times=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": 0},
            "was prepared in version 0 of the format, expected 1: prepare the log again.",
        ),
        ({"format": "another"}, "is not the manifest of a prepared log"),
        ({"leaks": None, "more": 1}, "does not hold the keys of version 1"),
    ],
)
def test_another_manifest(folder, change, message):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert message in refusal(folder)


def test_no_manifest(folder, tmp_path):
    (folder / "manifest.json").write_text("{")
    assert "manifest.json is not JSON" in refusal(folder)
    (folder / "manifest.json").unlink()
    assert (
        "is not a prepared log, it has no manifest.json: write one with tfrec_attn.data.prepare."
        in refusal(folder)
    )
    folder.rename(tmp_path / "other.partial")
    assert "run tfrec_attn.data.prepare again, it resumes there" in refusal(tmp_path / "other")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"min_user_events": 7}, "data.min_user_events is 7, but "),
        (
            {"split": "temporal", "valid_from": 0.5, "test_from": 0.6},
            "data.split is temporal, but ",
        ),
        ({"min_rating": 3.0, "columns": {"rating": "rating"}}, "data.min_rating is 3.0, but "),
        ({"path": "log.tsv"}, "data.path is log.tsv, but "),
        ({"max_length": 1000}, "data.max_length must be less than ten times the longest history"),
    ],
)
def test_a_configuration_that_asks_for_another_preparation(original, data, message):
    assert message in refusal(original, ConfigError, **data)


@pytest.mark.parametrize("name", models.names())
def test_every_model_takes_a_prepared_log(original, name):
    """Also those that recommend other windows or masks, such as lightgcn and bert4rec."""
    settings = [f"data.source={original}", f"model.name={name}"]
    data = config.load(None, settings, models.recommended).data
    assert prepared_log.open_source(data).manifest.after["events"] > 0


def test_keys_left_out_are_those_of_the_preparation(original):
    for given in ({}, {"min_user_events": 6}):
        data = run.prepare_data(config.from_dict({"data": {"source": str(original), **given}}))
        assert data.report.min_user_events == 6 and data.sequences.lengths.min() >= 6


def test_a_warm_start_needs_a_log(original):
    given = config.from_dict({"data": {"source": str(original)}})
    with pytest.raises(ConfigError, match=r"train\.warm_start needs a log"):
        run.prepare_data(given, known=PreparedLog(original).vocabularies())


@pytest.mark.parametrize("room", [10**6, 10])
def test_events_in_memory_or_on_disk(original, room, monkeypatch):
    monkeypatch.setattr(prepared_log, "_IN_MEMORY", room)
    for cache, kind in (("auto", room == 10), ("memory", False), ("stream", True)):
        split = run.prepare_data(
            config.from_dict({"data": {"source": str(original), "cache": cache}})
        ).split
        assert isinstance(split, ShardedSplit) == kind and (split.sequences.items is None) == kind


@pytest.mark.parametrize(
    ("source", "expected"),
    [("synthetic", False), ("a/b", True), ("tests", True), ("movielens-1m", False)],
)
def test_what_is_a_folder(source, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    assert is_folder(source) == expected


def test_users_are_in_the_shard_of_their_index(original):
    found = [read_shard(path, whole_times=True) for path in sorted(original.glob("shard-*"))]
    users = PreparedLog(original).index()[0]
    for number, shard in enumerate(found):
        assert shard.users.tolist() == list(range(number + 1, len(users) + 1, 3))
        assert shard.lengths.tolist() == users[shard.users - 1].tolist()
    assert np.concatenate([shard.lengths for shard in found]).sum() == users.sum()
