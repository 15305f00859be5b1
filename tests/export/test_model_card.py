"""Tests of model cards: all figures against the run and the SavedModel."""

import json
import re
import shlex

import pytest
import yaml

import tfrec_attn
from export.model_card import without_paths, write_card
from export.model_card_text import markdown
from tfrec_attn import config as configuration
from tfrec_attn.errors import ConfigError

SERVING = {
    "max_length": 4,
    "k": 10,
    "max_k": 100,
    "keep_seen": False,
    "separator": "\t",
    "index": None,
}


@pytest.fixture(scope="module")
def written(served, run_folder):
    """(card, text, version folder, run)."""
    folder, run = served("attrec")[2].path, run_folder("attrec")
    card = write_card(folder, run, name="shop", version=7, serving=SERVING)
    return card, (folder / "assets.extra" / "README.md").read_text(encoding="utf-8"), folder, run


def test_the_json_is_the_card(written):
    card, _, folder, _ = written
    assert (
        json.loads((folder / "assets.extra" / "model_card.json").read_text(encoding="utf-8"))
        == card
    )
    assert (card["name"], card["version"], card["serving"]) == ("shop", 7, SERVING)


def test_data_protocol_and_training_are_those_of_the_run(written):
    card, _, _, run = written
    report, config = (
        json.loads((run / "metrics.json").read_text()),
        yaml.safe_load((run / "config.yaml").read_text()),
    )
    config["data"]["path"], config["run_dir"] = "log.csv", run.name
    config["evaluate"]["repeats"] = "exclude"
    assert card["training"]["config"] == config
    assert card["model"] == {
        "name": "attrec",
        "parameters": {k: v for k, v in config["model"].items() if k != "name"},
    }
    # 30 users with 10 events each; the log names no more than 24 items.
    assert card["data"] == {
        "source": "log.csv",
        "sha256": report["data"]["sha256"],
        "users": 30,
        "items": 24,
        "events": 300,
        "untrained": {"users": 0, "items": 0},
    }
    assert re.fullmatch("[0-9a-f]{64}", card["data"]["sha256"])
    assert card["protocol"] == report["protocol"]
    assert (
        card["repeats"]
        == report["repeats"]
        == {"rule": "exclude", "chosen_by": "data", "valid": 0.0, "test": 0.0}
    )
    assert card["metrics"] == {key: report[key] for key in ("test", "test_interval", "valid")}
    assert card["baselines"] == report["baselines"]
    assert card["sizes"]["parameters"] == report["parameters"]


def test_signatures_and_sizes_are_those_of_the_servable(written):
    card, _, folder, _ = written
    assert {"serving_default", "recommend", "score", "embed", "embed_items", "explain"} < set(
        card["signatures"]
    )
    assert card["signatures"]["recommend_joined"]["inputs"]["history"] == {
        "dtype": "string",
        "shape": [None],
    }
    assert card["signatures"]["embed_items"]["inputs"] == {
        "item": {"dtype": "string", "shape": [None]}
    }
    assert card["signatures"]["serving_default"]["outputs"]["scores"]["shape"][0] is None
    parts = [
        path
        for part in ("saved_model.pb", "fingerprint.pb", "variables/*", "assets/*")
        for path in folder.glob(part)
    ]
    assert card["sizes"]["bytes"] == sum(path.stat().st_size for path in parts) > 1000


def test_latency_and_versions(written):
    latency, versions = written[0]["latency_ms"], written[0]["versions"]
    assert 0 < latency["p50"] <= latency["p99"]
    assert (latency["requests"], latency["batch"], latency["columns"]) == (200, 1, 5)
    assert latency["cpus"] >= 1 and latency["processor"]
    assert versions["tfrec_attn"] == tfrec_attn.__version__


def tables(text):
    """Cells of the rows of all tables, without the lines of dashes."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [row for row in rows if set(row) != {"---"}]


def test_figures_of_the_text(written, served):
    card, text, _, _ = written
    metrics, rows = card["metrics"], {row[0]: row[1:] for row in tables(text)}
    assert text.startswith("# shop, version 7\n")
    assert rows["test"] == list(metrics["test"])
    for name, values in {"attrec": metrics["test"], **card["baselines"]}.items():
        assert rows[name] == [f"{value:.4f}" for value in values.values()]
    assert rows["95 % interval"] == [
        f"{low:.4f} to {high:.4f}" for low, high in metrics["test_interval"].values()
    ]
    width = served("attrec")[0].item_vectors().shape[1]
    assert rows["`embed`"] == [
        "`history` string [?, ?], `user_id` string [?]",
        f"`query` float32 [?, {width}]",
    ]
    for piece in (
        "300 events of 30 users with 24 items",
        card["data"]["sha256"],
        "dim=8",
        f"{card['sizes']['bytes']:,} bytes",
        "5 is enough",
    ):
        assert piece in text
    assert (
        yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
        == card["training"]["config"]
    )


def request_of(text):
    """(words of the command in the text, request in it)."""
    (command,) = re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL)
    words = shlex.split(command)
    return words, json.loads(words[2])


def test_request_of_the_text_has_no_user(written, served):
    words, request = request_of(written[1])
    assert (words[:2], words[3]) == (["curl", "-d"], "http://localhost:8501/v1/models/shop:predict")
    assert request["signature_name"] == "serving_default_joined"
    (instance,) = request["instances"]
    known = (written[2] / "assets" / "items.txt").read_text(encoding="utf-8").splitlines()
    history = instance["history"].split("\t")
    assert instance.keys() == {"user_id", "history"} and instance["user_id"] == ""
    assert len(history) == 3 and set(history) <= set(known)
    # Item i + 1 of 12 has i events.
    assert written[0]["serving"]["separator"] == "\t" and not {*known[:4]} & {*history}
    answer = served("attrec")[2].run(
        "serving_default_joined", user_id=[""], history=[instance["history"]]
    )
    assert answer["source"].tolist() == [b"model"]


def test_an_id_with_a_quote_stays_in_the_request(written):
    card = {**written[0], "serving": {**SERVING, "separator": "'"}}
    assert (
        request_of(markdown(written[0], ["it's", "日本語", 'say "hi"']))[1]["instances"][0][
            "history"
        ]
        == 'it\'s\t日本語\tsay "hi"'
    )
    text = markdown(card, ["日本語", 'say "hi"'])
    assert request_of(text)[1]["instances"][0]["history"] == '日本語\'say "hi"'
    assert (
        "the oldest first, with `'` between them" in text
        and "with the tab between them" in written[1]
    )


@pytest.mark.parametrize(
    ("serving", "expected"),
    [
        ({}, ["Items of the history are not recommended. All items are scored."]),
        ({"keep_seen": True}, ["Items of the history may be recommended."]),
        (
            {"index": {"kind": "ivf", "cells": 64, "nprobe": 8}},
            ["Items are found by an index (kind ivf, cells 64, nprobe 8)."],
        ),
    ],
)
def test_text_of_the_export(written, serving, expected):
    text = markdown({**written[0], "serving": {**SERVING, **serving}}, ["i"])
    for sentence in expected:
        assert sentence in text


def test_a_temporal_split_without_intervals(written):
    card = written[0]
    protocol = {
        **card["protocol"],
        "split": "temporal",
        "valid_from": 0.8,
        "test_from": "2020-01-01",
    }
    metrics = {"test": card["metrics"]["test"]}
    text = markdown({**card, "protocol": protocol, "metrics": metrics}, ["i"])
    assert "Events before 0.8 (a date, or a share" in text and "from 2020-01-01 on is their" in text
    assert "interval" not in text
    text = markdown({**card, "protocol": {**protocol, "targets": "all"}}, ["i"])
    assert "All events from then to 2020-01-01 are validation events" in text


def test_folder_without_a_run(served, tmp_path):
    with pytest.raises(ConfigError, match="is not a finished run"):
        write_card(served("attrec")[2].path, tmp_path, name="shop", version=1, serving=SERVING)


def test_a_run_without_its_events(served, run_folder, tmp_path):
    for name in ("config.yaml", "metrics.json"):
        (tmp_path / name).symlink_to(run_folder("attrec") / name)
    with pytest.raises(ConfigError, match=r"has no test\.parquet"):
        write_card(served("attrec")[2].path, tmp_path, name="shop", version=1, serving=SERVING)


def test_only_the_last_part_of_a_path_is_shown():
    config = configuration.to_dict(
        configuration.from_dict(
            {
                "data": {
                    "source": "~/prepared/",
                    "schema": "../schema.pbtxt",
                    "columns": {"item": "shop/item"},
                    "names": ["a/b", "c"],
                },
                "train": {"warm_start": "/home/me/runs/old"},
                "run_dir": "runs/new",
            }
        )
    )
    found = without_paths(
        {**config, "more": ["C:\\logs\\x.csv", 3, None, "s3://bucket/parts/*.csv"]}
    )
    assert (found["data"]["source"], found["data"]["schema"], found["train"]["warm_start"]) == (
        "prepared",
        "schema.pbtxt",
        "old",
    )
    assert (found["run_dir"], found["more"]) == ("new", ["x.csv", 3, None, "*.csv"])
    assert (found["data"]["columns"], found["data"]["names"]) == (
        config["data"]["columns"],
        ["a/b", "c"],
    )
    assert found["model"] == config["model"] and found["evaluate"] == config["evaluate"]
