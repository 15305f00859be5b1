"""The commands train and evaluate: files of a run, metrics, and error messages."""

import csv
import gzip
import itertools
import json
import math
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.commands import run_command
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, models, train
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.runs import run
from tfrec_attn.runs.run_dir import default_names
from tfrec_attn.training import training_run

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = [
    "data.events=1500",
    "train.epochs=2",
    "model.dim=8",
    "train.batch_size=64",
    "train.negatives=2",
    "evaluate.bootstrap=50",
]
METRICS = ["HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "MRR"]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def history_of(folder):
    with open(folder / "history.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def write_log(path, users=25, events=10, items=30, seed=4, header="user_id,item_id,timestamp"):
    """A CSV log in which every user has `events` different items."""
    random = np.random.default_rng(seed)
    lines = [header]
    for user in range(users):
        lines += [
            f"u{user},i{item},{1000 * user + time}"
            for time, item in enumerate(random.permutation(items)[:events])
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


# --- What a run leaves ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the synthetic log and what the command printed."""
    folder = tmp_path_factory.mktemp("trained") / "some" / "run"
    code, out, error = run_command(train.main, *TINY, f"run_dir={folder}")
    assert (code, error) == (0, "")
    return folder, out


def test_files_of_a_run(trained):
    folder, out = trained
    assert {entry.name for entry in folder.iterdir()} == {
        "SHA256SUMS",
        "checkpoints",
        "config.yaml",
        "history.csv",
        "metrics.json",
        "tensorboard",
        "test.parquet",
        "valid.parquet",
        "vocabulary",
    }
    assert {entry.name for entry in (folder / "vocabulary").iterdir()} == {
        "item_counts.npy", "items.txt", "trained_items.npy", "trained_users.npy", "users.txt",
    }  # fmt: skip
    assert (folder / "checkpoints" / "best.index").stat().st_size > 0
    for part in ("train", "validation"):
        events = list((folder / "tensorboard" / part).glob("events.out.tfevents.*"))
        assert events and all(event.stat().st_size > 0 for event in events)
    assert [entry.name for entry in folder.parent.iterdir()] == ["run"]
    assert out.rstrip().endswith(f"Next: python -m tfrec_attn.evaluate {folder}")


def test_vocabularies_hold_all_ids_of_the_log_once(trained):
    # The synthetic users all have 5 events or more, so nobody is dropped.
    log = synthetic(1500)
    for name, column in (("users", "user_id"), ("items", "item_id")):
        lines = (trained[0] / "vocabulary" / f"{name}.txt").read_text().splitlines()
        assert sorted(lines) == sorted(set(log[column]))


@pytest.mark.parametrize(("part", "last"), [("valid", -2), ("test", -1)])
def test_held_out_events_are_kept_with_their_histories(trained, histories, part, last):
    log = pl.read_parquet(trained[0] / f"{part}.parquet")
    assert log.schema == {"user_id": pl.String, "history": pl.List(pl.String), "target": pl.String}
    assert (
        log["user_id"].to_list()
        == (trained[0] / "vocabulary" / "users.txt").read_text().splitlines()
    )
    for user, history, target in log.rows():
        assert (history, target) == (histories[user][:last], histories[user][last])


def test_training_events_of_items_are_counted(trained, histories):
    counted = Counter(item for history in histories.values() for item in history[:-2])
    counts = np.load(trained[0] / "vocabulary" / "item_counts.npy")
    assert counts.dtype == np.int64
    assert counts.tolist() == [
        counted[item] for item in (trained[0] / "vocabulary" / "items.txt").read_text().splitlines()
    ]


def test_config_of_a_run_is_complete(trained):
    config = configuration.load(trained[0] / "config.yaml")
    given = configuration.load(None, [*TINY, f"run_dir={trained[0]}"])
    assert config == configuration.with_model_parameters(given, models.parameters("attrec"))
    assert config.model.parameters["dim"] == 8


def test_content_of_metrics(trained):
    report = metrics_of(trained[0])
    for part in ("valid", "test"):
        assert list(report[part]) == METRICS
        assert list(report[f"{part}_interval"]) == METRICS
        assert all(0 <= value <= 1 for value in report[part].values())
        assert report[part]["HR@5"] <= report[part]["HR@10"] <= report[part]["HR@20"]
    assert {name: list(values) for name, values in report["baselines"].items()} == {
        "pop": METRICS,
        "transition": METRICS,
    }
    assert report["epochs"] == 2
    assert report["best_epoch"] in (1, 2)
    for key in ("train_seconds", "seconds_per_epoch", "examples_per_second", "peak_memory_mb"):
        assert math.isfinite(report[key]) and report[key] > 0


def test_parameters_are_counted(trained):
    # AttRec: two item tables and one user table with a padding row, and one projection [D, D].
    users, items = (
        len((trained[0] / "vocabulary" / f"{name}.txt").read_text().splitlines())
        for name in ("users", "items")
    )
    assert metrics_of(trained[0])["parameters"] == 2 * (items + 1) * 8 + (users + 1) * 8 + 8 * 8


def test_history_has_one_row_for_each_epoch(trained):
    rows = history_of(trained[0])
    assert [row["epoch"] for row in rows] == ["0", "1"]
    diagnostics = {"top1_share", "distinct_top10", "largest_item_norm", "not_finite"}
    assert set(rows[0]) == {"epoch", "loss", *(f"val_{name}" for name in METRICS), *diagnostics}
    assert all(
        0 < float(row["top1_share"]) <= 1
        and int(row["distinct_top10"]) >= 10
        and row["not_finite"] == "0"
        for row in rows
    )
    # A hinge of margin 0.5 starts near 0.5 for each of 3 targets times 2 negatives while all
    # vectors are tiny, and falls.
    assert 3.0 > float(rows[0]["loss"]) > float(rows[1]["loss"]) > 0


def test_the_log_is_reported(trained):
    log = synthetic(1500)
    events, users, items = log.height, log["user_id"].n_unique(), log["item_id"].n_unique()
    after = metrics_of(trained[0])["data"]["after"]
    assert (after["events"], after["users"], after["items"]) == (events, users, items)
    assert f"{events} events of {users} users with {items} items" in trained[1]
    assert metrics_of(trained[0])["data"]["rejected"] == 0


def test_the_table_shows_the_numbers_of_the_file(trained):
    report = metrics_of(trained[0])
    rows = {
        line.split()[0]: line.split()[1:]
        for line in trained[1].splitlines()
        if line.startswith(("pop ", "transition ", "attrec "))
    }
    expected = {**report["baselines"], "attrec": report["test"]}
    assert rows == {
        name: [f"{values[metric]:.4f}" for metric in METRICS] for name, values in expected.items()
    }


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    # A reckless step size: the validation metric jumps, and training stops two epochs after its
    # best.
    folder = tmp_path / "run"
    code, _, _ = run_command(
        train.main,
        *TINY,
        "train.epochs=40",
        "train.patience=2",
        "train.learning_rate=3",
        f"run_dir={folder}",
    )
    report, curve = metrics_of(folder), [float(row["val_MRR"]) for row in history_of(folder)]
    assert code == 0
    assert report["epochs"] == len(curve) == report["best_epoch"] + 2 < 40
    assert report["best_epoch"] == curve.index(max(curve)) + 1
    assert report["valid"]["MRR"] == pytest.approx(max(curve), rel=1e-5)
    assert report["valid"]["MRR"] != pytest.approx(curve[-1], rel=1e-3)


def test_the_same_seed_gives_the_same_run(trained, tmp_path):
    folder = tmp_path / "again"
    assert run_command(train.main, *TINY, f"run_dir={folder}")[0] == 0
    first, again = metrics_of(trained[0]), metrics_of(folder)
    for key in ("valid", "test", "valid_interval", "test_interval", "baselines", "best_epoch"):
        assert first[key] == again[key]
    assert (folder / "history.csv").read_text() == (trained[0] / "history.csv").read_text()


def test_another_seed_gives_other_initial_weights(tmp_path):
    # With no step size to speak of the ranks are those of the initial weights.
    for seed in (1, 2):
        overrides = [
            "train.epochs=1",
            "train.learning_rate=1e-30",
            "evaluate.bootstrap=0",
            f"train.seed={seed}",
        ]
        assert run_command(train.main, *TINY, *overrides, f"run_dir={tmp_path / str(seed)}")[0] == 0
    assert metrics_of(tmp_path / "1")["test"] != metrics_of(tmp_path / "2")["test"]


# --- Where a run goes ---


def test_default_run_dirs_are_numbered():
    def names(*overrides):
        return [
            str(name)
            for name in itertools.islice(default_names(configuration.load(None, overrides)), 3)
        ]

    assert names() == [
        "runs/synthetic-attrec",
        "runs/synthetic-attrec-2",
        "runs/synthetic-attrec-3",
    ]
    assert names("data.source=file", "data.path=logs/my.log.tsv.gz")[:2] == [
        "runs/my-attrec",
        "runs/my-attrec-2",
    ]


def test_the_second_run_gets_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "synthetic-attrec").mkdir(parents=True)
    monkeypatch.setattr(
        training_run,
        "_train_into",
        lambda folder, *_: (folder / "metrics.json").write_text("{}") and None,
    )
    code, out, _ = run_command(train.main)
    assert code == 0
    assert sorted(entry.name for entry in (tmp_path / "runs").iterdir()) == [
        "synthetic-attrec",
        "synthetic-attrec-2",
    ]
    assert list((tmp_path / "runs" / "synthetic-attrec").iterdir()) == []
    assert "Next: python -m tfrec_attn.evaluate runs/synthetic-attrec-2" in out


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, interruption):
    def interrupted(folder, *_):
        (folder / "vocabulary").mkdir()
        raise interruption

    monkeypatch.setattr(training_run, "_train_into", interrupted)
    arguments = [f"run_dir={tmp_path / 'run'}"]
    if interruption is KeyboardInterrupt:
        assert run_command(train.main, *arguments) == (
            130,
            "",
            "stopped by SIGINT; nothing was written.\n",
        )
    else:
        with pytest.raises(interruption):
            train.main(arguments)
    assert list(tmp_path.iterdir()) == []


# --- A run again ---


def test_evaluate_gives_the_metrics_of_the_run(trained):
    for arguments, part in (([], "test"), (["--split", "valid"], "valid")):
        code, out, error = run_command(evaluate.main, trained[0], "--json", *arguments)
        assert (code, error) == (0, "")
        again, report = json.loads(out), metrics_of(trained[0])
        assert set(again) == {part, f"{part}_interval"}
        assert again[part] == pytest.approx(report[part], abs=1e-6)
        for metric in METRICS:
            assert again[f"{part}_interval"][metric] == pytest.approx(
                report[f"{part}_interval"][metric], abs=1e-6
            )


def test_evaluate_prints_a_table(trained):
    code, out, _ = run_command(evaluate.main, trained[0])
    report = metrics_of(trained[0])
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["test", *METRICS]
    assert lines[1] == ["model", *(f"{report['test'][metric]:.4f}" for metric in METRICS)]
    for line, end in zip(lines[2:], (0, 1), strict=True):
        assert line[-len(METRICS) :] == [
            f"{report['test_interval'][metric][end]:.4f}" for metric in METRICS
        ]


def test_evaluate_writes_the_rank_of_every_user(trained, histories, tmp_path):
    code, _, error = run_command(evaluate.main, trained[0], "--ranks", tmp_path / "ranks.tsv")
    assert (code, error) == (0, "")
    with open(tmp_path / "ranks.tsv", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert {row["user_id"]: row["item_id"] for row in rows} == {
        user: history[-1] for user, history in histories.items()
    }
    ranks = [int(row["rank"]) for row in rows]
    report = metrics_of(trained[0])["test"]
    assert report["HR@10"] == pytest.approx(
        sum(rank <= 10 for rank in ranks) / len(ranks), abs=1e-6
    )
    assert report["MRR"] == pytest.approx(sum(1 / rank for rank in ranks) / len(ranks), abs=1e-6)


def test_ranks_replace_earlier_ranks_and_nothing_else(trained, tmp_path):
    path = tmp_path / "ranks.tsv"
    for content in ("user_id\titem_id\trating\n", "mine"):
        path.write_text(content)
        assert_refused(
            run_command(evaluate.main, trained[0], "--ranks", path),
            2,
            f"--ranks {path} exists and is not an earlier one of its kind",
        )
        assert path.read_text() == content
    path.write_text("user_id\titem_id\trank\nu\ti\t1\n")
    assert run_command(evaluate.main, trained[0], "--ranks", path)[0] == 0
    assert path.read_text().count("\n") > 2


def test_ranks_that_cannot_be_written(trained, tmp_path):
    assert_refused(
        run_command(evaluate.main, trained[0], "--ranks", tmp_path / "no" / "ranks.tsv"),
        2,
        "--ranks",
        "cannot be written",
    )


@pytest.fixture(scope="module")
def model(trained):
    return run.load_model(trained[0])


@pytest.fixture(scope="module")
def histories():
    """user -> raw items of the synthetic log, oldest first."""
    result = defaultdict(list)
    for user, item, _ in sorted(synthetic(1500).rows(), key=lambda row: row[2]):
        result[user].append(item)
    return result


def test_recommend_gives_new_items_best_first(model, histories):
    given = [history[:6] for history in list(histories.values())[:4]]
    items, scores = model.recommend(given, k=7)
    every = {item for history in histories.values() for item in history}
    for history, row, values in zip(given, items, scores, strict=True):
        assert len(row) == len(set(row)) == len(values) == 7
        assert set(row) <= every - set(history)
        assert values == sorted(values, reverse=True)


def test_recommend_ignores_unknown_ids(model, histories):
    known = next(iter(histories.values()))[:3]
    with_strangers = ["never seen", *known[:2], "", *known[2:], "i-1"]
    assert model.recommend([with_strangers], k=5) == model.recommend([known], k=5)
    assert model.recommend([known], k=5, users=["a stranger"]) == model.recommend([known], k=5)


def test_recommend_for_an_empty_history(model, histories):
    items, scores = model.recommend([[], ["never seen"]], k=5)
    assert [len(row) for row in items] == [5, 5]
    assert np.isfinite(scores).all()
    # A known user without a history still has their own vector.
    own, _ = model.recommend([[]], k=5, users=[next(iter(histories))])
    assert len(own[0]) == 5


def test_hits_of_recommendations_agree_with_the_metrics(trained, model, histories):
    # HR@10 counted over: the last item of every user, among the ten recommended for all that came
    # before it.
    users = list(histories)
    items, _ = model.recommend([histories[user][:-1] for user in users], k=10, users=users)
    hits = sum(histories[user][-1] in row for user, row in zip(users, items, strict=True))
    assert metrics_of(trained[0])["test"]["HR@10"] == pytest.approx(hits / len(users), abs=1e-6)


# --- A log of one's own ---


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run on a CSV with three bad lines, given by a relative path -> (run, log, what was
    printed).
    """
    folder = tmp_path_factory.mktemp("own")
    log = write_log(folder / "my log.csv")
    lines = log.read_text().splitlines()
    lines[3:3] = ["u1,i2", "u1,i2,yesterday", "u1,,5"]
    log.write_text("\n".join(lines) + "\n")
    own = [
        "data.source=file",
        "data.path=my log.csv",
        "data.on_error=skip",
        "run_dir=run",
        "train.epochs=1",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, out, error = run_command(train.main, *TINY, *own)
    assert (code, error) == (0, "")
    return folder / "run", log, out


def test_skipped_lines_are_kept_and_counted(own):
    folder, log, out = own
    rejected = [line.split("\t") for line in (folder / "rejected.tsv").read_text().splitlines()]
    assert [(Path(row[0]).name, row[1], row[3]) for row in rejected[1:]] == [
        (log.name, "4", "u1,i2"),
        (log.name, "5", "u1,i2,yesterday"),
        (log.name, "6", "u1,,5"),
    ]
    assert metrics_of(folder)["data"]["rejected"] == 3
    assert metrics_of(folder)["data"]["after"]["events"] == 250
    assert "3 lines could not be read" in out


def test_a_relative_path_is_stored_as_absolute(own):
    assert configuration.load(own[0] / "config.yaml").data.path == str(own[1].resolve())
    code, out, _ = run_command(evaluate.main, own[0], "--json")
    assert code == 0
    assert json.loads(out)["test"] == pytest.approx(metrics_of(own[0])["test"], abs=1e-6)


def test_a_run_is_evaluated_on_its_own_events_after_the_log_has_changed(own):
    folder, log, _ = own
    before, report = log.read_text(), metrics_of(folder)
    try:
        for text in (
            before.replace("u7,", "someone,"),
            before.replace(",i9,", ",something,"),
            None,
        ):
            log.unlink() if text is None else log.write_text(text)
            for part in ("valid", "test"):
                code, out, error = run_command(evaluate.main, folder, "--json", "--split", part)
                assert (code, error) == (0, "")
                assert json.loads(out) == {key: report[key] for key in (part, f"{part}_interval")}
    finally:
        log.write_text(before)


def test_evaluation_on_the_current_log(own, tmp_path):
    folder, log, _ = own
    before = log.read_text()
    lines = before.splitlines()
    last = {
        line.split(",")[0]: place
        for place, line in enumerate(lines)
        if line.count(",") == 2 and line.split(",")[2].isdigit()
    }
    try:
        code, out, error = run_command(evaluate.main, folder, "--on", "current-log", "--json")
        assert (code, error) == (
            0,
            f"note: {log.resolve()} is the log that {folder} was trained on.\n",
        )
        assert json.loads(out)["test"] == metrics_of(folder)["test"]

        # u3's last event is of a new item, u7 has another name, and u9 has one event more.
        lines[last["u3"]] = lines[last["u3"]].replace(",i", ",new-i")
        lines = [line.replace("u7,", "someone,") for line in lines]
        lines.append("u9,i1,99999")
        log.write_text("\n".join(lines) + "\n")
        code, out, error = run_command(
            evaluate.main,
            folder,
            "--on",
            "current-log",
            "--json",
            "--ranks",
            tmp_path / "ranks.tsv",
        )
        assert code == 0
        assert error == (
            f"note: these are not the metrics of {folder}: {log.resolve()} now has 251 events, "
            f"not 250, 1 users and 1 items that the run "
            "does not know, and 1 held-out events of such items, which are misses.\n"
        )
        report = json.loads(out)
        assert report["current_log"] == {
            "log": str(log.resolve()),
            "same": False,
            "events": 251,
            "events_of_run": 250,
            "unknown_users": 1,
            "unknown_items": 1,
            "unknown_targets": 1,
        }
        rows = [line.split("\t") for line in (tmp_path / "ranks.tsv").read_text().splitlines()[1:]]
        targets = {user: item for user, item, _ in rows}
        assert (
            targets["u9"] == "i1"
            and targets["u3"].startswith("new-i")
            and "someone" in targets
            and len(rows) == 25
        )
        ranks = {user: float(rank) for user, _, rank in rows}
        assert ranks["u3"] > 30
        assert report["test"]["HR@10"] == pytest.approx(
            sum(rank <= 10 for rank in ranks.values()) / 25, abs=1e-6
        )

        code, out, _ = run_command(evaluate.main, folder, "--on", "current-log")
        assert out.startswith("test of the current log ")
        log.unlink()
        assert_refused(
            run_command(evaluate.main, folder, "--on", "current-log"),
            2,
            f"{log.resolve()} does not exist",
        )
    finally:
        log.write_text(before)


# --- What cannot work ---


def assert_refused(result, code, *pieces):
    """The command ended with this code and one sentence with these pieces."""
    assert result[0] == code, result
    assert (
        result[2].startswith("error: ") and result[2].endswith("\n") and result[2].count("\n") == 1
    ), result[2]
    assert "Traceback" not in result[1] + result[2]
    for piece in pieces:
        assert piece in result[2]


@pytest.mark.parametrize(
    ("code", "overrides", "pieces"),
    [
        (2, ["train.epoch=3"], ["train.epoch", "did you mean train.epochs?"]),
        (2, ["train.epochs=many"], ["train.epochs must be a whole number"]),
        (
            2,
            ["train.seed=5000000000"],
            ["train.seed must be at most 4294967295, but is 5000000000"],
        ),
        (2, ["missing.yaml"], ["missing.yaml does not exist"]),
        (
            2,
            ["model.name=atrec"],
            ["model.name must be one of attrec", "'atrec'", "did you mean 'attrec'?"],
        ),
        (2, ["model.dims=8"], ["model.dims", "did you mean model.dim?"]),
        (2, ["model.dim=wide"], ["model.dim must be a whole number"]),
        (2, ["model.dim=null"], ["model.dim must be a whole number, but is null"]),
        (
            2,
            ["model.name=mqsa_ted", "model.alpha=1.5"],
            ["mqsa_ted", "`alpha` must be a number in [0, 1]; got 1.5"],
        ),
        (
            2,
            ["model.name=mqsa_ted", "model.query_window=6", "data.max_length=5"],
            ["query_window must be at most max_length, 5, but is 6"],
        ),
        (
            2,
            ["model.name=sasrec", "train.loss=bce", "train.negatives=9999"],
            ["train.negatives must be at most the number of items"],
        ),
        (2, ["model.dim=0"], ["attrec", "dim of short_items must be at least 1, but is 0"]),
        (
            2,
            ["train.loss=sampled_softmax"],
            ["takes next_items and masked_items, but model.name=attrec trains on windows"],
        ),
        (
            2,
            ["train.distillation={weight: 0.1, temperature: 0}"],
            ["train.distillation", "temperature"],
        ),
        (2, ["model.user_weight=2"], ["attrec", "weight must be in [0, 1], but is 2"]),
        (
            2,
            ["model.aggregation=median"],
            ["aggregation must be one of mean, sum, max, min", "'median'"],
        ),
        (2, ["model.max_norm=-1"], ["max_norm", "-1"]),
        (
            2,
            ["train.optimizer=adagard"],
            ["train.optimizer must be one of", "'adagard'", "did you mean 'adagrad'?"],
        ),
        (2, ["train.optimizer_options={no_such: 1}"], ["train.optimizer=adagrad", "no_such"]),
        (2, ["data.source=movielens"], ["data.source must be one of synthetic", "'movielens'"]),
        (2, ["data.source=file"], ["data.path"]),
        (2, ["data.path=x.csv"], ["data.source=file"]),
        (2, ["data.events=10"], ["data.events must be 1000 or more"]),
        (
            2,
            ["data.max_length=5000"],
            ["data.max_length must be less than ten times the longest history", "5000"],
        ),
        (2, ["data.targets=500"], ["data.targets must be less than the longest history", "500"]),
        (2, ["data.min_user_events=100000"], ["data.min_user_events=100000", "lower them"]),
        (2, ["data.split=temporal"], ["data.test_from and data.valid_from"]),
        (
            2,
            ["data.split=temporal", "data.valid_from=0.9", "data.test_from=0.5"],
            ["data.valid_from must be earlier"],
        ),
        (2, ["data.valid_from=0.9"], ["data.split=leave-one-out needs no bounds"]),
        (
            1,
            ["train.learning_rate=1e30", "model.max_norm=null"],
            [
                "The loss became",
                "epoch 1",
                "values that are not finite",
                "lower train.learning_rate",
                "set model.max_norm; nothing was",
            ],
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and "=" in value[-1] else None,
)
def test_invalid_settings(tmp_path, code, overrides, pieces):
    assert_refused(
        run_command(train.main, *overrides[:1], *TINY, *overrides, f"run_dir={tmp_path / 'run'}"),
        code,
        *pieces,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "overrides", "pieces"),
    [
        (None, [], ["log.csv does not exist"]),
        ("", [], ["log.csv is empty"]),
        ("user_id,item_id,timestamp\n", [], ["log.csv holds no interactions"]),
        (
            "user_id,item,timestamp\na,b,1\n",
            [],
            ["log.csv has no column 'item_id'", "data.columns.item"],
        ),
        (
            "user_id,item_id,timestamp\na,b,1\na,b\n",
            [],
            ["log.csv, line 3: expected 3 fields", "got 2", "data.on_error=skip"],
        ),
        (
            "user_id,item_id,timestamp\na,b,1\na,c,2,3\n",
            [],
            ["log.csv, line 3: expected 3 fields", "got 4"],
        ),
        (
            "user_id,item_id,timestamp\na,b,1\na,c,2\na,d,soon\n",
            [],
            ["log.csv, line 4:", "timestamp", "'soon'"],
        ),
        (
            "user_id,item_id,timestamp\na,b,x\na,c\n",
            ["data.on_error=skip"],
            ["holds no interactions", "all 2 lines were rejected"],
        ),
        (
            "user_id,item_id,timestamp\na,b,1\na,c,2\n",
            ["data.min_user_events=3"],
            ["data.min_user_events=3", "leave nothing"],
        ),
        (
            "user_id,item_id,timestamp\na,b,1\na,c,2\nb,c,3\n",
            ["data.min_user_events=1"],
            ["leave-one-out needs a user with 3 events"],
        ),
        # The only user with 3 events trains on one of them.
        (
            "user_id,item_id,timestamp\na,b,1\na,c,2\na,d,2\n",
            ["data.min_user_events=1", "data.max_length=1", "data.targets=1"],
            ["nothing to learn from"],
        ),
    ],
    ids=[
        "missing",
        "empty",
        "header-only",
        "no-column",
        "too-few-fields",
        "too-many-fields",
        "timestamp",
        "all-skipped",
        "filter",
        "split",
        "windows",
    ],
)
def test_invalid_logs(tmp_path, text, overrides, pieces):
    log = tmp_path / "log.csv"
    if text is not None:
        log.write_text(text)
    result = run_command(
        train.main,
        *TINY,
        "data.source=file",
        f"data.path={log}",
        *overrides,
        f"run_dir={tmp_path / 'deep' / 'run'}",
    )
    assert_refused(result, 2, *pieces)
    assert list(tmp_path.iterdir()) == ([log] if text is not None else [])


def test_a_run_dir_that_exists_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    assert_refused(
        run_command(train.main, *TINY, f"run_dir={tmp_path / 'run'}"),
        2,
        f"run_dir {tmp_path / 'run'} exists",
    )
    assert [entry.name for entry in tmp_path.rglob("*")] == ["run", "precious.txt"]


def test_a_run_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(
        run_command(train.main, *TINY, f"run_dir={tmp_path / 'file' / 'run'}"),
        2,
        "cannot be written",
    )


def test_evaluating_a_folder_without_a_run(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    for folder in (tmp_path, tmp_path / "missing"):
        assert_refused(run_command(evaluate.main, folder), 2, f"{folder} is not a finished run")


def test_evaluating_a_run_without_its_weights(trained, tmp_path):
    for name in ("config.yaml", "metrics.json", "vocabulary"):
        (tmp_path / name).symlink_to(trained[0] / name)
    assert_refused(run_command(evaluate.main, tmp_path), 2, f"{tmp_path} has lost its weights")


@pytest.mark.parametrize(
    "gone",
    [
        "strategy: parameter_server",
        "strategy: mirrored\n  devices: [GPU:7]",
        "strategy: default\n  jit: true",
    ],
)
def test_a_run_is_read_without_the_devices_of_its_training(trained, tmp_path, gone):
    text = (trained[0] / "config.yaml").read_text()
    assert text.count("  strategy: default\n  devices: null\n") == 1
    (tmp_path / "config.yaml").write_text(text.replace("strategy: default\n  devices: null", gone))
    (tmp_path / "metrics.json").symlink_to(trained[0] / "metrics.json")
    assert run.load_config(tmp_path) == run.load_config(trained[0])


# --- Help ---


def test_help_lists_every_key_with_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(["--help"])
    assert caught.value.code == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for key, default, text in configuration.documented():
        shown = (
            {None: "null", True: "true", False: "false"}[default]
            if default is None or isinstance(default, bool)
            else str(default)
        )
        assert f"{key}={shown}" in lines
        assert text in lines
    # The defaults as the class writes them down.
    for line in (
        "model.dim=100",
        "model.user_weight=0.2",
        "model.tied=true",
        "model.diagonal=after",
        "model.aggregation=mean",
    ):
        assert line in lines
    assert sum(line.startswith("parameters of model.name=") for line in lines) == len(
        models.names()
    )


# --- As a process of its own ---


def python(*arguments, cwd):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TF_", "PYTEST_"))
    }
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


REPLICAS = """
import sys
from tfrec_attn import train

for dim in (8, 5):
    assert train.main([*sys.argv[1:], f"model.dim={dim}", f"run_dir=run-{dim}"]) == 0
"""


def test_two_replicas_with_other_settings(tmp_path):
    # Two trainings in a process of its own: strategies that other tests make would get in the way
    # of their collectives. The replicas' sparse gradients have different lengths at nearly every
    # step.
    path = tmp_path / "some.yaml"
    path.write_text(
        "data: {split: temporal, valid_from: 0.6, test_from: 0.8}\n"
        "train: {loss: bpr, optimizer: adam, learning_rate: 1e-2, reduction: mean, l2: 1e-3, "
        "shared_negatives: true, epochs: 9}\n"
        "evaluate: {k: [1, 50], metric: HR@50, bootstrap: 7}\n"
        "runtime: {strategy: mirrored, devices: [CPU:0, CPU:1]}\n"
    )
    rest = [override for override in TINY if not override.startswith(("train.epochs", "model.dim"))]
    process = python(
        "-c", REPLICAS, path, *rest, "train.epochs=1", "evaluate.bootstrap=0", cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr[-2000:]
    for folder in (tmp_path / "run-8", tmp_path / "run-5"):
        report = metrics_of(folder)
        assert list(report["test"]) == ["HR@1", "NDCG@1", "HR@50", "NDCG@50", "MRR"]
        assert not any("interval" in key for key in report)
        assert "leaks" not in report["data"]
        assert report["epochs"] == 1
        # The validation inside fit ran on two replicas, the one after it on one.
        assert float(history_of(folder)[0]["val_MRR"]) == pytest.approx(
            report["valid"]["MRR"], rel=1e-4
        )


def test_the_command_is_quiet_on_stderr(tmp_path):
    process = python("-m", "tfrec_attn.train", *TINY, "train.epochs=1", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.rstrip().endswith(
        "Next: python -m tfrec_attn.evaluate runs/synthetic-attrec"
    )
    assert (tmp_path / "runs" / "synthetic-attrec" / "metrics.json").is_file()


def test_the_command_refuses_in_one_line(tmp_path):
    process = python("-m", "tfrec_attn.train", "train.epoch=3", cwd=tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert (
        process.stderr
        == "error: Unknown configuration key train.epoch; did you mean train.epochs?\n"
    )
    assert list(tmp_path.iterdir()) == []


# --- Real data ---


def popularity_hits(path, k):
    """HR@k of most-popular on the last event of each user, with loops -> (HR, events, users,
    items).
    """
    histories = defaultdict(list)
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    for place, row in enumerate(rows):
        histories[row["user_id"]].append((int(row["timestamp"]), place, row["item_id"]))
    histories = {
        user: [item for _, _, item in sorted(events)] for user, events in histories.items()
    }
    items = {row["item_id"] for row in rows}
    count = Counter(item for history in histories.values() for item in history[:-2])
    hits = 0
    for history in histories.values():
        target, past = history[-1], set(history[:-1])
        rank = 1 + sum(
            count[item] >= count[target] for item in items if item != target and item not in past
        )
        hits += rank <= k
    return hits / len(histories), len(rows), len(histories), len(items)


def test_movielens(real_data, tmp_path):
    log = real_data / "ml-100k-attrec" / "interactions.tsv.gz"
    if not log.exists():
        pytest.skip(f"no {log}")
    overrides = [
        "train.epochs=1",
        "model.dim=8",
        "train.batch_size=4096",
        "evaluate.k=[50]",
        "evaluate.bootstrap=0",
    ]
    code, out, error = run_command(
        train.main,
        "data.source=file",
        f"data.path={log}",
        *overrides,
        f"run_dir={tmp_path / 'run'}",
    )
    assert (code, error) == (0, "")
    report, (popular, *size) = metrics_of(tmp_path / "run"), popularity_hits(log, 50)
    assert size == [100_000, 943, 1682]
    assert [report["data"]["after"][key] for key in ("events", "users", "items")] == size
    assert "100000 events of 943 users with 1682 items" in out
    assert report["baselines"]["pop"]["HR@50"] == pytest.approx(popular, abs=1e-9)
    assert 0 < report["test"]["HR@50"] < 1
