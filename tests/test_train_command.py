"""The training command: folders, error messages, help, processes, and real data."""

import csv
import gzip
import itertools
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.commands import TINY, assert_refused, history_of, metrics_of, run_command
from tfrec_attn import config as configuration
from tfrec_attn import models, train
from tfrec_attn.runs.run_dir import default_names
from tfrec_attn.training import training_run
from tfrec_attn.training.settings import settings_without_effect

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    # With a large step size the metric jumps, and training stops two epochs after its best.
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


def test_another_seed_gives_other_initial_weights(tmp_path):
    # With a tiny step size the ranks are those of the initial weights.
    for seed in (1, 2):
        overrides = [
            "train.epochs=1",
            "train.learning_rate=1e-30",
            "evaluate.bootstrap=0",
            f"train.seed={seed}",
        ]
        assert run_command(train.main, *TINY, *overrides, f"run_dir={tmp_path / str(seed)}")[0] == 0
    assert metrics_of(tmp_path / "1")["test"] != metrics_of(tmp_path / "2")["test"]


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
    assert (
        "runs/synthetic-attrec is a run of other settings or another log, or no run; this run is "
        "written to runs/synthetic-attrec-2.\n"
    ) in out
    assert "Next: python -m tfrec_attn.report runs/synthetic-attrec-2\n" in out


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
            ["mqsa_ted", "model.alpha must be a number in [0, 1]; got 1.5"],
        ),
        (
            2,
            ["model.name=mqsa_ted", "model.query_window=6", "data.max_length=5"],
            ["model.query_window must be at most data.max_length, 5, but is 6"],
        ),
        (
            2,
            ["model.name=caser", "model.max_height=6", "data.max_length=5"],
            ["model.max_height must be at most data.max_length, 5, but is 6; lower model.max_"],
        ),
        (
            2,
            ["model.name=bert4rec", "data.mask_share=1"],
            ["data.mask_share must be greater than 0 and less than 1, but is 1"],
        ),
        (
            2,
            ["model.name=bert4rec", "model.num_heads=3"],
            ["model.num_heads must divide the width of `inputs`, 8; got 3"],
        ),
        *(
            (
                2,
                [f"model.name={name}", "model.num_blocks=0"],
                ["model.num_blocks must be an integer"],
            )
            for name in ("bert4rec", "esasrec", "fmlp_rec", "hstu")
        ),
        (
            2,
            ["model.name=gru4rec", "model.dropout=1"],
            ["model.dropout must be a number in [0, 1)"],
        ),
        (
            2,
            ["model.name=gru4rec", "train.loss=bpr_max", "train.score_penalty=-1"],
            ["train.score_penalty must be 0 or greater, but is -1"],
        ),
        (
            2,
            [
                "train.distillation.weight=1",
                "train.distillation.loss=smoothing",
                "model.max_norm=1.0",
            ],
            ["model.name=attrec: AttRec keeps its item vectors within max_norm"],
        ),
        (
            2,
            ["train.distillation.weight=1", "train.distillation.layers=0"],
            ["train.distillation.layers must be greater than 0, but is 0"],
        ),
        (2, ["train.sampling_power=2"], ["train.sampling_power must be from 0 to 1, but is 2"]),
        (
            2,
            ["model.name=sasrec", "train.loss=bce", "train.negatives=9999"],
            ["train.negatives must be at most the number of items"],
        ),
        (2, ["model.dim=0"], ["attrec", "model.dim of short_items must be at least 1, but is 0"]),
        (
            2,
            ["train.loss=sampled_softmax"],
            ["takes next_items and masked_items, but model.name=attrec trains on windows"],
        ),
        (
            2,
            ["train.distillation={weight: 0.1, temperature: 0}"],
            ["train.distillation", "train.distillation.temperature must"],
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
            ["model.name=bpr_mf", "data.session_gap=9"],
            ["scores by the user alone", "data.session_gap=9.0 each session", "set data.session"],
        ),
        (
            2,
            ["model.name=prme", "model.max_gap=9", "data.columns.timestamp=null"],
            ["model.max_gap needs times, but data.columns.timestamp is null; set model.max_gap"],
        ),
        (
            2,
            ["model.name=lightgcn", "model.num_layers=-1"],
            ["lightgcn", "num_layers must be 0 or greater, but is -1"],
        ),
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
    # The defaults of the class.
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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["model.name=sasrec", "train.loss=softmax", "data.targets=2", "data.mask_last=0.5"],
            ["data.targets", "data.mask_last"],
        ),
        (
            ["train.loss=bpr", "train.margin=2", "train.calibration=0.1"],
            ["train.margin", "train.calibration"],
        ),
        (["model.name=sasrec", "train.loss=softmax", "train.negatives=50"], ["train.negatives"]),
        (
            ["model.name=sasrec", "train.loss=gbce", "train.calibration=0.1", "train.negatives=50"],
            [],
        ),
        (
            [
                "model.name=gru4rec",
                "train.loss=top1_max",
                "train.sampling=popularity",
                "train.sampling_power=0.5",
                "train.score_penalty=2",
            ],
            ["train.score_penalty"],
        ),
        (
            ["model.name=gru4rec", "train.loss=bpr_max", "train.sampling_power=0.5"],
            ["train.sampling_power"],
        ),
        (
            ["train.distillation={weight: 1, loss: squared_distance, layers: 2, latest: true}"],
            ["train.distillation.layers"],
        ),
        (["train.distillation.loss=smoothing"], ["train.distillation.loss"]),
        (
            ["train.softmax_precision=auto", "train.distillation={weight: 1, loss: smoothing}"],
            ["train.softmax_precision"],
        ),
        (["train.softmax_precision=auto", "train.distillation.weight=1"], []),
        (["train.softmax_precision=auto", "train.loss=shop_losses:any"], []),
        ([], []),
    ],
)
def test_settings_without_effect(arguments, expected):
    lines = settings_without_effect(configuration.load(None, arguments))
    assert [line.partition(" has no effect: ")[0] for line in lines] == expected


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
    # In another process, because strategies of other tests would disturb the collectives.
    # The replicas' sparse gradients have different lengths at nearly every
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
    assert process.stdout.endswith(
        "Next: python -m tfrec_attn.report runs/synthetic-attrec\n"
        "      python -m tfrec_attn.export runs/synthetic-attrec --to servables/synthetic-attrec\n"
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


def popularity_hits(path, k):
    """Returns (HR@k of most-popular on the last events, events, users, items), by loops."""
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
