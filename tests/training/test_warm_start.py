"""Warm start: copied weights, rows of new users and items, the report, and error messages."""

import contextlib
import dataclasses
import itertools
import json
import shutil

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from export.command import main as export
from tests.commands import run_command
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, train
from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.filter_report import Statistics
from tfrec_attn.data.sequences.leakage import leak_report
from tfrec_attn.data.sequences.splits import leave_one_out
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.keras_versions.variables import variable_of
from tfrec_attn.optimizers import make_optimizer
from tfrec_attn.runs import run, run_files, weights
from tfrec_attn.runtime.distribution import make_strategy
from tfrec_attn.training import callbacks, training_run
from tfrec_attn.training.fitting import compile_model
from tfrec_attn.training.inputs import training_stream
from tfrec_attn.training.warm_start import WarmStart, load_previous_run

TINY = [
    "data.source=file",
    "train.epochs=2",
    "model.dim=4",
    "model.stddev=0.3",
    "train.batch_size=32",
    "train.negatives=2",
    "evaluate.bootstrap=0",
    "runtime.steps_per_execution=1",
]


def log(events):
    return pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")


def drawn(users, items, start, seed):
    """Returns eight events with different items for each user."""
    random, items = np.random.default_rng(seed), list(items)
    return [
        (f"u{user}", f"i{item}", start + 100 * user + time)
        for user in users
        for time, item in enumerate(random.permutation(items)[:8])
    ]


# Two of 20 users and one of 24 items vanish; 6 users and the items i24 to i31 are added.
FIRST = drawn(range(20), range(24), 0, 1)
GROWN = [event for event in FIRST if event[0] not in ("u4", "u19") and event[1] != "i7"] + drawn(
    range(20, 26), range(16, 32), 10**6, 2
)


def test_a_vocabulary_is_extended():
    assert Vocabulary(["b", "a"]).extended(["c", "a", "d", "c"]).ids() == ["b", "a", "c", "d"]


def test_known_ids_keep_their_indices_by_hand():
    # User w and item y have vanished. User v and items c and d are new.
    known = Vocabulary(["w", "u"]), Vocabulary(["y", "a", "b"])
    sequences, report = encode_log(
        log([("v", "c", 1), ("v", "a", 2), ("u", "d", 1), ("u", "c", 2)]), known=known
    )
    assert sequences.user_vocabulary.ids() == ["w", "u", "v"]
    assert sequences.item_vocabulary.ids() == ["y", "a", "b", "c", "d"]
    assert sequences.offsets.tolist() == [0, 0, 2, 4]
    assert sequences.items.tolist() == [5, 4, 4, 2]
    assert report.after == Statistics(4, 2, 3)


def test_known_ids_that_the_filter_drops_have_no_events():
    # Users u and v have too few events; item a keeps its index without an event.
    events = [("u", "a", 1), ("v", "a", 1), ("w", "c", 1), ("w", "d", 2)]
    sequences, _ = encode_log(
        log(events), min_user_events=2, known=(Vocabulary(["u", "v"]), Vocabulary(["a"]))
    )
    assert sequences.user_vocabulary.ids() == ["u", "v", "w"]
    assert sequences.item_vocabulary.ids() == ["a", "c", "d"]
    assert (sequences.offsets.tolist(), sequences.items.tolist()) == ([0, 0, 0, 2], [2, 3])


def test_users_without_events_are_not_in_a_split():
    events = [("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("u", "d", 4)]
    alone = leave_one_out(encode_log(log(events))[0])
    among = leave_one_out(
        encode_log(
            log(events), known=(Vocabulary(["x", "u", "y"]), Vocabulary(["a", "b", "c", "d"]))
        )[0]
    )
    assert among.train_end.tolist() == [0, 2, 4]
    assert (among.valid.tolist(), among.test.tolist()) == ([2], [3])
    assert leak_report(among) == leak_report(alone)


def test_the_schedule_starts_again():
    config = configuration.load(
        None,
        [
            "train.epochs=2",
            "train.learning_rate=8",
            "train.schedule=linear",
            "train.warmup_steps=4",
        ],
    )
    optimizer = make_optimizer(config, steps_per_epoch=4, first_step=100)
    schedule = tf.keras.optimizers.schedules.deserialize(optimizer.get_config()["learning_rate"])
    assert [float(schedule(tf.constant(step, tf.int64))) for step in range(100, 108)] == [
        2,
        4,
        6,
        8,
        6,
        4,
        2,
        0,
    ]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A run on the first log."""
    folder = tmp_path_factory.mktemp("old")
    log(FIRST).write_csv(folder / "first.csv")
    log(GROWN).write_csv(folder / "grown.csv")
    assert (
        run_command(
            train.main, *TINY, f"data.path={folder / 'first.csv'}", f"run_dir={folder / 'run'}"
        )[0]
        == 0
    )
    return folder / "run"


def begin(old, log_name, *overrides, strategy=None):
    """Returns (model, WarmStart, split, config) of a warm start before its first step."""
    data = f"data.path={old.parent / log_name}"
    config = training_run.resolve(
        configuration.load(None, [*TINY, data, f"train.warm_start={old}", *overrides])
    )
    previous = load_previous_run(config)
    split = run.prepare_data(config, known=previous.vocabularies).split
    warm = WarmStart(previous, config, split)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = run.build_model(
            config, split.sequences.user_vocabulary, split.sequences.item_vocabulary
        )
        warm.copy_weights_to(model)
    return model, warm, split, config


HISTORIES = np.array(
    [[0, 0, 1, 2, 3], [4, 5, 6, 7, 8], [24, 3, 20, 1, 9], [0, 0, 0, 0, 0]], np.int32
)
FEATURES = {"user": np.array([1, 0, 20, 3], np.int32), "history": HISTORIES}


def test_the_same_log_gives_the_same_scores(old):
    model, warm, *_ = begin(old, "first.csv")
    np.testing.assert_array_equal(model(FEATURES), run.load_model(old)(FEATURES))
    there = json.loads((old / "metrics.json").read_text())["valid"]
    assert warm.summary["valid_before"] == warm.summary["valid_of_run"] == there
    assert [
        warm.summary[kind][key]
        for kind in ("users", "items")
        for key in ("known", "added", "vanished")
    ] == [20, 0, 0, 24, 0, 0]


@pytest.fixture(scope="module")
def begun(old):
    """A warm start on the longer log, compiled, before the first step."""
    model, warm, split, config = begin(old, "grown.csv", "train.new_items=neighbours")
    compile_model(model, config, split, training_stream(config, split), warm.first_step)
    warm.copy_slots_to(model)
    return model, warm


def test_known_rows_and_scores_stay(old, begun):
    model, before = begun[0], run.load_model(old)
    assert (model.num_users, model.num_items) == (26, 32)
    for kind, count in (("users", 20), ("items", 24)):
        for was, now in zip(before.tables(kind), model.tables(kind), strict=True):
            np.testing.assert_array_equal(now[: count + 1], was)
    np.testing.assert_allclose(
        model(FEATURES)[:, 1:25], before(FEATURES)[:, 1:25], rtol=1e-5, atol=1e-9
    )


def neighbours_in(events, item):
    """Returns the known items that are adjacent to an item in training events, with repetitions."""
    known = {event[1] for event in FIRST}
    found = []
    for user in {event[0] for event in events}:
        history = [event[1] for event in events if event[0] == user][:-2]
        for pair in itertools.pairwise(history):
            found += [one for one, other in (pair, pair[::-1]) if other == item and one in known]
    return found


def test_rows_of_new_items_are_means_of_their_neighbours(old, begun):
    before, model = run.load_model(old), begun[0]
    without = 0
    for index in range(25, 33):
        beside = before.item_vocabulary.lookup(
            neighbours_in(GROWN, model.item_vocabulary.ids([index])[0])
        )
        without += not len(beside)
        for was, now in zip(before.tables("items"), model.tables("items"), strict=True):
            expected = was.numpy()[beside if len(beside) else slice(1, None)].mean(axis=0)
            np.testing.assert_allclose(now[index], expected, rtol=1e-4, atol=1e-8)
    assert without < 8


def test_rows_of_new_users_and_items_are_means(old):
    model, before = begin(old, "grown.csv")[0], run.load_model(old)
    for kind, count in (("users", 20), ("items", 24)):
        for was, now in zip(before.tables(kind), model.tables(kind), strict=True):
            expected = np.broadcast_to(
                was.numpy()[1:].mean(axis=0), (len(now.numpy()) - count - 1, 4)
            )
            np.testing.assert_allclose(now[count + 1 :], expected, rtol=1e-4, atol=1e-8)


def test_slots_are_those_of_the_checkpoint(old, begun):
    model, warm = begun
    saved = tf.train.load_checkpoint(str(old / run_files.BEST))
    slots = {
        name.partition("/accumulators/")[2]: saved.get_tensor(name)
        for name, _ in tf.train.list_variables(str(old / run_files.BEST))
        if name.startswith("optimizer/accumulators/")
    }
    assert sorted(slot.shape for slot in slots.values()) == [(4, 4), (21, 4), (25, 4), (25, 4)]
    names = {id(variable): name for name, variable in weights.named_weights(model).items()}
    for slot, variable in zip(
        model.optimizer.variables[-4:], model.trainable_variables, strict=True
    ):
        name = names[id(variable_of(variable))]
        expected = slots[f"{name}/.ATTRIBUTES/VARIABLE_VALUE"]
        known = len(expected)
        np.testing.assert_array_equal(slot[:known], expected)
        assert (slot.numpy()[known:] == np.float32(0.1)).all()
        assert (slot.numpy()[:known] > np.float32(0.1)).any()
    steps = int(saved.get_tensor("optimizer/iterations/.ATTRIBUTES/VARIABLE_VALUE"))
    assert int(model.optimizer.iterations.numpy()) == warm.first_step == steps > 0
    assert warm.summary["optimizer"] == f"kept, from step {steps}"


def test_several_replicas_start_like_one(old, begun):
    strategy = make_strategy(configuration.load(None, ["runtime.strategy=mirrored"]).runtime)
    model, warm, split, config = begin(
        old, "grown.csv", "train.new_items=neighbours", strategy=strategy
    )
    with strategy.scope():
        compile_model(model, config, split, training_stream(config, split), warm.first_step)
        warm.copy_slots_to(model)
    assert warm.summary == begun[1].summary
    variables = [model.weights + model.optimizer.variables for model in (model, begun[0])]
    for found, expected in zip(*variables, strict=True):
        for replica in variable_of(found).values:
            np.testing.assert_array_equal(replica, expected)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.optimizer=adam", "fresh, because train.optimizer was adagrad and is adam"),
        (
            "train.optimizer_options={epsilon: 1.0e-5}",
            "fresh, because train.optimizer_options was {} and is {'epsilon': 1e-05}",
        ),
    ],
)
def test_another_optimizer_starts_without_slots(old, override, told):
    _, warm, *_ = begin(old, "first.csv", override)
    assert (warm.summary["optimizer"], warm.first_step) == (told, 0)


def test_an_optimizer_without_saved_slots(old, tmp_path):
    copy = shutil.copytree(old, tmp_path / "first" / "run")
    shutil.copy(old.parent / "first.csv", copy.parent)
    weights.write(copy / run_files.BEST, run.load_model(copy))
    run_files.seal(copy)
    model, warm, *_ = begin(copy, "first.csv")
    assert (warm.summary["optimizer"], warm.first_step) == (
        "fresh, because the run has not saved it",
        0,
    )
    np.testing.assert_array_equal(model(FEATURES), run.load_model(old)(FEATURES))


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.optimizer=lazy_adam", "train.schedule=cosine", "train.warmup_steps=2"],
        ["runtime.precision=mixed_float16"],
    ],
)
def test_slots_of_other_optimizers_and_precisions(old, tmp_path, overrides):
    shutil.copy(old.parent / "first.csv", tmp_path)
    data = f"data.path={tmp_path / 'first.csv'}"
    try:
        assert (
            run_command(train.main, *TINY, data, *overrides, f"run_dir={tmp_path / 'run'}")[0] == 0
        )
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    _, warm, split, config = begin(tmp_path / "run", "first.csv", *overrides)
    steps = training_stream(config, split).steps_per_epoch
    assert warm.first_step in (steps, 2 * steps)
    assert warm.summary["optimizer"] == f"kept, from step {warm.first_step}"


@pytest.fixture(scope="module")
def successor(old):
    """(run, stdout) of a warm start on the longer log; its previous run is removed."""
    away, folder = old.parent / "was", old.parent / "successor"
    shutil.copytree(old, away)
    overrides = [
        f"data.path={old.parent / 'grown.csv'}",
        f"train.warm_start={away}",
        "data.min_user_events=1",
        f"run_dir={folder}",
    ]
    code, out, error = run_command(train.main, *TINY, *overrides)
    assert (code, error) == (0, "")
    shutil.rmtree(away)
    return folder, out


def test_report(old, successor):
    report = json.loads((successor[0] / "metrics.json").read_text())
    warm = report["warm_start"]
    news = list(dict.fromkeys(event[1] for event in GROWN if int(event[1][1:]) >= 24))
    assert warm["users"] == {
        "known": 20, "added": 6, "vanished": 2,
        "first_added": ["u20", "u21", "u22", "u23", "u24"], "first_vanished": ["u4", "u19"],
    }  # fmt: skip
    assert warm["items"] == {
        "known": 24,
        "added": 8,
        "vanished": 1,
        "first_added": news[:5],
        "first_vanished": ["i7"],
    }
    last = {event[0]: event[1] for event in GROWN}
    fresh = sum(item in news for item in last.values())
    assert (
        warm["test_events"] == {"all": 24, "old_items": 24 - fresh, "new_items": fresh}
        and 0 < fresh < 24
    )
    assert warm["test"]["all"] == report["test"]
    for metric, value in report["test"].items():
        parts = (24 - fresh) * warm["test"]["old_items"][metric] + fresh * warm["test"][
            "new_items"
        ][metric]
        assert parts / 24 == pytest.approx(value, rel=1e-5)
    assert warm["valid_of_run"] == json.loads((old / "metrics.json").read_text())["valid"]
    assert 0 < warm["overlap@10"] <= 1 and warm["overlap_users"] == 24
    assert (
        "20 users known, 6 added (u20, u21, u22, u23, u24, ...) and 2 vanished (u4, u19);"
        in successor[1]
    )
    assert f"new items ({fresh})" in successor[1] and "overlap@10" in successor[1]


def test_overlap_by_hand(old):
    model, warm, split, _ = begin(old, "grown.csv")
    before, expected = run.load_model(old), []
    for user in split.sequences.user_vocabulary.ids(split.rows(split.valid) + 1):
        history = [event[1] for event in GROWN if event[0] == user][:-2]
        lists = [one.recommend([history], k=10, users=[user])[0][0] for one in (before, model)]
        expected.append(len(set(lists[0]) & set(lists[1])) / 10)
    assert warm.report(model, np.ones(len(split.test), int))["overlap@10"] == pytest.approx(
        np.mean(expected)
    )


def test_a_warm_started_run_is_evaluated_and_exported(old, successor, tmp_path):
    folder = successor[0]
    assert configuration.load(folder / "config.yaml").train.warm_start == str(old.parent / "was")
    report = json.loads((folder / "metrics.json").read_text())
    assert json.loads(run_command(evaluate.main, folder, "--json")[1])["test"] == pytest.approx(
        report["test"]
    )
    assert (folder / "vocabulary" / "items.txt").read_text().splitlines()[:24] == (
        old / "vocabulary" / "items.txt"
    ).read_text().splitlines()
    assert (
        np.load(folder / "vocabulary" / "item_counts.npy")[
            Vocabulary.load(folder / "vocabulary" / "items.txt").lookup(["i7"])[0] - 1
        ]
        == 0
    )
    found = run.load_model(folder).recommend([["i30", "i7"]], k=31)[0][0]
    assert len(set(found)) == 30 and not {"i30", "i7"} & set(found)
    assert run_command(export, folder, "--to", tmp_path / "served")[0] == 0


def test_a_warm_started_run_can_be_warm_started_from(successor):
    model, *_ = begin(successor[0], "grown.csv")
    np.testing.assert_array_equal(model(FEATURES), run.load_model(successor[0])(FEATURES))


def test_a_changed_log_is_reported(successor):
    # Without the events of i31 all ids of the log are still in the vocabularies.
    path, report = (
        successor[0].parent / "grown.csv",
        json.loads((successor[0] / "metrics.json").read_text()),
    )
    whole = path.read_text()
    assert evaluate.evaluate(successor[0], on="current-log")["current_log"]["same"]
    try:
        log([event for event in GROWN if event[1] != "i31"]).write_csv(path)
        assert evaluate.evaluate(successor[0])["test"] == report["test"]
        found = evaluate.evaluate(successor[0], on="current-log")["current_log"]
        assert (found["same"], found["unknown_users"], found["unknown_items"]) == (False, 0, 0)
        assert found["events"] < found["events_of_run"]
    finally:
        path.write_text(whole)


def test_weights_are_trained(old, successor):
    curve = pl.read_csv(successor[0] / "history.csv")
    assert len(curve) == 2
    before, after = run.load_model(old), run.load_model(successor[0])
    assert not np.allclose(before.tables("items")[0], after.tables("items")[0][:25], atol=1e-6)


class Killed(BaseException):
    """Stands for SIGKILL in this process."""


def test_an_interrupted_warm_start_is_resumed(old, successor, tmp_path):
    original = callbacks.CheckpointSaver.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        if self.progress.epoch == 1:
            raise Killed
        original(self, batch, logs)

    command = [
        *TINY,
        f"data.path={old.parent / 'grown.csv'}",
        f"train.warm_start={old}",
        f"run_dir={tmp_path / 'run'}",
    ]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(callbacks.CheckpointSaver, "on_train_batch_end", on_train_batch_end)
        run_command(train.main, *command)
    code, out, _ = run_command(train.main, *command)
    assert code == 0 and "Resuming from" in out
    whole, interrupted = run.load_model(successor[0]), run.load_model(tmp_path / "run")
    for wanted, found in zip(whole.weights, interrupted.weights, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        (
            "model.name=sasrec",
            "model.name is attrec there but sasrec here; give model.name=attrec.",
        ),
        ("model.dim=8", "model.dim is 4 there but 8 here; give model.dim=4."),
        (
            "model.max_norm=null",
            "model.max_norm is 1.0 there but None here; give model.max_norm=1.0.",
        ),
        ("data.max_length=4", "data.max_length is 5 there but 4 here; give data.max_length=5."),
    ],
)
def test_a_run_of_another_model_is_refused(old, tmp_path, override, difference):
    data = f"data.path={old.parent / 'first.csv'}"
    code, _, error = run_command(
        train.main, *TINY, data, f"train.warm_start={old}", override, f"run_dir={tmp_path / 'run'}"
    )
    assert (code, error) == (
        2,
        f"error: train.warm_start={old} is of another model: {difference}\n",
    )
    assert not any(tmp_path.iterdir())


def test_a_folder_without_a_finished_run_is_refused(old, tmp_path):
    config = configuration.load(None, [f"train.warm_start={tmp_path}"])
    with pytest.raises(
        ConfigError,
        match=r"^train\.warm_start: .* is not a finished run: it has no metrics\.json; "
        r"give a folder",
    ):
        load_previous_run(config)


def test_a_run_without_its_weights_is_refused(old, tmp_path):
    copy = shutil.copytree(old, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints")
    data, new = f"data.path={old.parent / 'first.csv'}", tmp_path / "new"
    code, _, error = run_command(
        train.main, *TINY, data, f"train.warm_start={copy}", f"run_dir={new}"
    )
    assert (code, error) == (
        2,
        f"error: {copy} has lost its weights, checkpoints/best; train again.\n",
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_new_items_is_a_choice():
    with pytest.raises(
        ConfigError,
        match=r"^train\.new_items must be one of mean, neighbours, "
        r"but is 'neighbour' \(did you mean 'neighbours'\?\)\.$",
    ):
        configuration.load(None, ["train.new_items=neighbour"])


def test_the_run_is_named_by_its_absolute_path(old, monkeypatch):
    monkeypatch.chdir(old.parent)
    config = training_run.resolve(configuration.load(None, ["train.warm_start=run"]))
    assert dataclasses.asdict(config.train)["warm_start"] == str(old)
