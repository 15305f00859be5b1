"""A finished run: its files, evaluation and recommendations, and a log that has changed."""

import csv
import dataclasses
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.commands import METRICS, TINY, assert_refused, history_of, metrics_of, run_command
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, models, train
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.errors import ConfigError
from tfrec_attn.evaluation.list_metrics import list_metrics
from tfrec_attn.runs import run, run_files
from tfrec_attn.training import result_text

AVERAGE = "tfrec_attn.studies.average:Average"


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
        "ranks.npz",
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
    assert out.endswith(
        f"\n\nNext: python -m tfrec_attn.report {folder}\n"
        f"      python -m tfrec_attn.export {folder} --to servables/run\n"
    )


def test_figures_of_the_lists_are_those_of_recommendations(trained):
    model, events = run.load_model(trained[0]), pl.read_parquet(trained[0] / "test.parquet")
    items, _ = model.recommend(events["history"].to_list(), k=10, users=events["user_id"].to_list())
    counts = np.load(trained[0] / "vocabulary" / "item_counts.npy")
    rows = np.array([model.item_vocabulary.lookup(one) for one in items])
    assert metrics_of(trained[0])["lists"] == pytest.approx(list_metrics(rows, counts))


def test_vocabularies_hold_all_ids_of_the_log_once(trained):
    # All synthetic users have 5 events or more, so none is dropped.
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
        "decayed_transitions": METRICS,
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
        if line.startswith(("pop ", "transition ", "decayed_transitions ", "attrec "))
    }
    expected = {**report["baselines"], "attrec": report["test"]}
    assert rows == {
        name: [f"{values[metric]:.4f}" for metric in METRICS] for name, values in expected.items()
    }


def test_the_same_seed_gives_the_same_run(trained, tmp_path):
    folder = tmp_path / "again"
    assert run_command(train.main, *TINY, f"run_dir={folder}")[0] == 0
    first, again = metrics_of(trained[0]), metrics_of(folder)
    for key in ("valid", "test", "valid_interval", "test_interval", "baselines", "best_epoch"):
        assert first[key] == again[key]
    assert (folder / "history.csv").read_text() == (trained[0] / "history.csv").read_text()


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
    assert lines[1] == ["attrec", *(f"{report['test'][metric]:.4f}" for metric in METRICS)]
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


def test_ranks_that_cannot_be_written(tmp_path):
    """The file is checked before anything is read."""
    path = tmp_path / "no" / "ranks.tsv"
    result = run_command(evaluate.main, tmp_path / "no run", "--ranks", path)
    assert_refused(result, 2, f"--ranks {path} cannot be written: there is no folder")


@pytest.fixture(scope="module")
def model(trained):
    return run.load_model(trained[0])


@pytest.fixture(scope="module")
def histories():
    """User -> items of the synthetic log, oldest first."""
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
    # HR@10: users whose last item is among the ten recommended for their earlier items.
    users = list(histories)
    items, _ = model.recommend([histories[user][:-1] for user in users], k=10, users=users)
    hits = sum(histories[user][-1] in row for user, row in zip(users, items, strict=True))
    assert metrics_of(trained[0])["test"]["HR@10"] == pytest.approx(hits / len(users), abs=1e-6)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """(run, log, stdout) of a CSV with three bad lines, given by a relative path."""
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
            f"not 250, 1 user and 1 item that the run "
            "does not know, and 1 held-out event of such items: each is a miss.\n"
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
    ["strategy: another", "strategy: mirrored\n  devices: [GPU:7]"],
)
def test_a_run_is_read_without_the_devices_of_its_training(trained, tmp_path, gone):
    text = (trained[0] / "config.yaml").read_text()
    assert text.count("  strategy: default\n  devices: null\n") == 1
    (tmp_path / "config.yaml").write_text(text.replace("strategy: default\n  devices: null", gone))
    (tmp_path / "metrics.json").symlink_to(trained[0] / "metrics.json")
    assert run.load_config(tmp_path) == run.load_config(trained[0])


def test_recommended_lengths_take_logs_of_short_histories(tmp_path):
    lengths = [models.recommended(name).get("data.max_length", 5) for name in models.names()]
    assert max(lengths) == run.LONGEST_RECOMMENDED
    log = write_log(tmp_path / "log.csv", events=5)
    settings = ["data.source=file", f"data.path={log}", "model.name=decayed_transitions"]
    data = run.prepare_data(configuration.load(None, settings))
    assert data.sequences.lengths.max() == 5
    with pytest.raises(ConfigError, match="the longest history, 5 events, but is 51; lower it"):
        run.prepare_data(configuration.load(None, [*settings, "data.max_length=51"]))


def test_what_the_summary_says_of_a_better_baseline(trained):
    """It names the baseline if the model is behind it in the metric that picks the epoch."""
    folder, out = trained
    report, config = metrics_of(folder), run_files.load_config(folder)
    values = {name: one["MRR"] for name, one in report["baselines"].items()}
    best = max(values, key=values.get)
    note = f"{best}, which only counts, has a better MRR: {values[best]:.4f}, not "
    assert (note in out) == (values[best] > report["test"]["MRR"])
    report["baselines"][best]["MRR"] = 0.9
    text = result_text.better_baseline(config, report)
    assert f"has a better MRR: 0.9000, not {report['test']['MRR']:.4f}" in text
    assert "with prior.weight=auto" in text and f"model.name={best}" in text
    report["baselines"] = {one: {"MRR": 0.9} for one in ("pop", "transition")}
    for name, remedy in (
        ("item_knn", "To improve the model, vary its settings with tfrec_attn.ablat"),
        ("pop", "transition, which only counts"),
        ("transition", "pop, which only counts"),
        ("decayed_transitions", "To improve the model, vary its settings with tfrec_attn.ablat"),
        (AVERAGE, "To improve the average, add the counts to its scores with prior.weight=auto, c"),
    ):
        other = dataclasses.replace(config, model=dataclasses.replace(config.model, name=name))
        assert remedy in result_text.better_baseline(other, report)
    report["test"]["MRR"] = 0.89996
    assert result_text.better_baseline(config, report) is None
    report["test"]["MRR"] = 0.95
    assert result_text.better_baseline(config, report) is None


def test_what_the_summary_says_of_a_training_that_was_too_short(trained):
    folder, out = trained
    report, config = metrics_of(folder), run_files.load_config(folder)
    last = config.train.epochs
    note = f"The last epoch is the best one: more than train.epochs={last} may improve the model."
    assert (note in out) == (report["best_epoch"] == last)
    report.update(best_epoch=last, epochs=last)
    assert result_text.last_was_best(config, report) == note
    report.update(best_epoch=last - 1)
    assert result_text.last_was_best(config, report) is None
    report.update(best_epoch=0, epochs=0)
    assert result_text.last_was_best(config, report) is None
