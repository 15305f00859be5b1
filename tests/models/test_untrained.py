"""Users and items without training events, in ranks, recommendations and exports."""

import contextlib
import functools
import io
import json

import numpy as np
import polars as pl
import pytest
import tensorflow as tf

from export import verify
from export.command import export
from export.index_building import build_index
from export.saved_model import save
from export.servable import Servable
from tests.models.contract import TYPICAL
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, models, train
from tfrec_attn.data.sequences.encoding import Sequences
from tfrec_attn.data.sequences.splits import Split, temporal
from tfrec_attn.data.sequences.trained_rows import TrainedRows, missing_text
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.errors import ConfigError
from tfrec_attn.models.base.untrained import UNTRAINED, drop_events, is_trained
from tfrec_attn.replay.event_ranking import rank_events
from tfrec_attn.replay.measured_run import COLUMNS
from tfrec_attn.runs import run, run_files
from tfrec_attn.runs.run_files import read_trained
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.training import inputs
from tfrec_attn.training.evaluating import rank_baselines

# Those that need the user and the history, the history alone, and the user alone.
EVERY_MODEL = pytest.mark.parametrize("name", [*TYPICAL, "tests.outside.bpr_mf:BPRMF"])
FLOOR = np.finfo(np.float32).min
ITEMS, NEW, LENGTH = [f"i{place}" for place in range(9)], ["new1", "new2", "new3"], 3
# Events of each user: before the validation begins, from then on, and from the test on.
LOG = {
    "u0": ("i0 i1 i2 i3 i4", "new1 new2 new1 new2", "i6"),
    "u1": ("i3 i4 i5 i6 i7", "i0", "new1"),
    "u2": ("i6 i7 i0 i1 i2", "new2", "i5"),
    "u3": ("i1 i3 i5 i8", "i0 new3", "i2"),
    "u4": ("i2 i4 i6 i3", "i1", "new2"),
    # Of one training event no example is made.
    "one": ("i1", "i2", "i5"),
    "late": ("", "i3", "i4"),
    "later": ("", "new1", "i5"),
    "last": ("", "", "i3"),
}
COUNTS = {"i0": 2, "i1": 4, "i2": 3, "i3": 4, "i4": 3, "i5": 2, "i6": 3, "i7": 2, "i8": 1}
UNKNOWN_USERS = {"one", "late", "later", "last"}
OPTIONS = [
    "data.source=file",
    "data.split=temporal",
    "data.valid_from=2001-09-09T02:00:00Z",
    "data.test_from=2001-09-09T03:00:00Z",
    "data.min_user_events=1",
    f"data.max_length={LENGTH}",
    "data.targets=1",
    "data.window=full",
    "train.epochs=2",
    "train.batch_size=4",
    "train.negatives=2",
    "evaluate.k=[1,3,12]",
    "evaluate.bootstrap=0",
    "evaluate.repeats=exclude",
    "runtime.steps_per_execution=1",
]


def write_log(path):
    starts = [1_000_000_000 + 60 * 13 * place for place in (0, 2, 6)]
    rows = [
        (user, item, start + place)
        for user, parts in LOG.items()
        for start, part in zip(starts, parts, strict=True)
        for place, item in enumerate(part.split())
    ]
    pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row").write_csv(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that gives the run of a model and what its training printed, made once."""

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp("untrained")
        write_log(folder / "log.csv")
        wide = {"stddev": 0.5, "dim": 8}
        sizes = [
            f"model.{key}={value}" for key, value in wide.items() if key in models.parameters(name)
        ]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            arguments = [
                f"data.path={folder / 'log.csv'}",
                f"model.name={name}",
                *sizes,
                *OPTIONS,
                f"run_dir={folder / 'run'}",
            ]
            assert train.main(arguments) == 0
        return folder / "run", out.getvalue()

    return make


@pytest.fixture(scope="module")
def served(trained, tmp_path_factory):
    """A function that gives the session of a model's servable, its folder and what the export
    printed, made once.
    """
    sessions = []

    @functools.cache
    def make(name):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            folder = export(trained(name)[0], tmp_path_factory.mktemp("servables") / "model")
        sessions.append(Runner(folder, optimize=False))
        return sessions[-1], folder, out.getvalue()

    yield make
    for session in sessions:
        session.close()


def expected(model, user, history):
    """(items by rank among those not in the history, score by item, source): from raw vectors, with
    loops.
    """
    events = [item for item in history if item in COUNTS][-LENGTH:]
    row = (
        0
        if user in UNKNOWN_USERS or user not in LOG
        else model.user_vocabulary.ids().index(user) + 1
    )
    known = (model.uses_user and row > 0) or (model.uses_history and bool(events))
    ids = model.item_vocabulary.ids()
    if known:
        padded = [0] * (LENGTH - len(events)) + [ids.index(item) + 1 for item in events]
        query = model.query_vectors(
            {"user": tf.constant([row]), "history": tf.constant([padded])}
        ).numpy()[0]
        scores = dict(zip(ids, (model.item_vectors().numpy()[1:] @ query).tolist(), strict=True))
    else:
        scores = {item: count / 24 for item, count in COUNTS.items()}
    scores |= dict.fromkeys(NEW, float(UNTRAINED))
    left = [item for item in ids if item not in history]
    return sorted(left, key=lambda item: -scores[item]), scores, "model" if known else "popular"


def cases():
    for user, parts in LOG.items():
        yield user, " ".join(parts[:2]).split(), parts[2]
    yield "nobody", ["new1", "?", "new2"], "i3"
    yield "nobody", ["new1", "i8", "new2", "new2", "new1", "new2"], "i3"


@EVERY_MODEL
def test_the_run_tells_which_rows_are_trained(name, trained):
    folder, out = trained(name)
    rows, (users, items) = run.load_trained_rows(folder), run.load_vocabularies(folder)
    assert {
        user for user, known in zip(users.ids(), rows.users, strict=True) if not known
    } == UNKNOWN_USERS
    assert {item for item, known in zip(items.ids(), rows.items, strict=True) if not known} == set(
        NEW
    )
    assert "Training learns nothing about 4 users and 3 items: such a user counts as unknown" in out


@EVERY_MODEL
def test_recommend(name, trained):
    model = run.load_model(trained(name)[0])
    for user, history, _ in cases():
        items, scores = model.recommend([history], k=12, users=[user])
        order, by_item, _ = expected(model, user, history)
        assert set(items[0]) == set(order) and len(items[0]) == len(order)
        np.testing.assert_allclose(
            scores[0], [by_item[item] for item in order], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            scores[0], [by_item[item] for item in items[0]], rtol=1e-4, atol=1e-5
        )
        ends = [item for item in model.item_vocabulary.ids() if item in NEW and item not in history]
        assert items[0][len(items[0]) - len(ends) :] == ends


@EVERY_MODEL
def test_evaluation_ranks_the_same(name, trained, tmp_path):
    folder, _ = trained(name)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert evaluate.main([str(folder), "--json", "--ranks", str(tmp_path / "ranks.tsv")]) == 0
    report, model = json.loads((folder / "metrics.json").read_text()), run.load_model(folder)
    assert json.loads(out.getvalue())["test"] == pytest.approx(report["test"], abs=1e-6)
    found = {
        user: rank for user, _, rank in pl.read_csv(tmp_path / "ranks.tsv", separator="\t").rows()
    }
    for user, history, target in list(cases())[: len(LOG)]:
        order, scores, _ = expected(model, user, history)
        assert found[user] == sum(not scores[item] < scores[target] for item in order), user
    # new1 of u1, who had 6 of the 12 items: behind everything else.
    assert found["u1"] == 12 - 6
    ranks = np.array([found[user] for user in LOG])
    assert report["test"]["HR@3"] == pytest.approx(np.mean(ranks <= 3))
    assert report["test"]["MRR"] == pytest.approx(np.mean(1 / ranks), rel=1e-5)


@EVERY_MODEL
def test_the_servable_answers_the_same(name, trained, served):
    model, (session, _, _) = run.load_model(trained(name)[0]), served(name)
    for user, history, _ in cases():
        who = {"user_id": [user], "history": [["", *history]]}
        order, by_item, source = expected(model, user, history)
        lists = {"exclude": [[""]], "allow": [["i8", "new3", "i0"]], "k": [12]}
        among = [item for item in order if item in lists["allow"][0]]
        default, some = (
            session.run("serving_default", **who),
            session.run("recommend", **who, **lists),
        )
        for result, best in ((default, order[:10]), (some, among)):
            items = [one.decode() for one in result["items"][0] if one]
            assert len(items) == len(best)
            assert [item in NEW for item in items] == [item in NEW for item in best]
            for values in (items, best):
                np.testing.assert_allclose(
                    result["scores"][0][: len(best)],
                    [by_item[item] for item in values],
                    rtol=1e-4,
                    atol=1e-5,
                )
            assert result["source"].tolist() == [source.encode()]
        scored = session.run("score", **who, candidates=[["i4", "new2", "?"]])
        np.testing.assert_allclose(
            scored["scores"][0], [by_item["i4"], UNTRAINED, FLOOR], rtol=1e-4, atol=1e-5
        )
        assert scored["known"].tolist() == [[True, False, False]]


@EVERY_MODEL
def test_the_servable_explains_and_embeds_what_it_knows(name, trained, served):
    session = served(name)[0]
    who = {"user_id": ["u0"], "history": [["", "i0", "new1", "i1", "new2"]]}
    same = {"user_id": ["u0"], "history": [["", "i0", "i1"]]}
    queries = [session.run("embed", **request)["query"] for request in (who, same)]
    np.testing.assert_allclose(queries[0], queries[1], rtol=1e-5, atol=1e-6)
    long, short = (session.run("explain", **request, item=["i5"]) for request in (who, same))
    maps = [one.pop("attention_map", None) for one in (long, short)]
    assert maps[0] is None or np.allclose(*maps, rtol=1e-4, atol=1e-5)
    assert long.pop("known").tolist() == short.pop("known").tolist() == [True]
    for key, values in long.items():
        np.testing.assert_allclose(values[0][[1, 3]], short[key][0][1:], rtol=1e-4, atol=1e-5)
        assert not values[0][[2, 4]].any()
    unknown = session.run("explain", **same, item=["new1"])
    assert not unknown["contribution"].any() and not unknown["known"].any()
    vectors = session.run("embed_items", item=["i5", "new1", "?"])
    assert vectors["known"].tolist() == [True, False, False]
    assert vectors["vector"][0].any() and not vectors["vector"][1:].any()


@EVERY_MODEL
def test_verification_finds_the_metrics_again(name, trained, served, capsys):
    folder, (session, servable, _) = trained(name)[0], served(name)
    for part in ("test", "valid"):
        assert verify.main([str(servable), "--run", str(folder), "--split", part]) == 0, (
            capsys.readouterr().err
        )

    model, some = run.load_model(folder), list(cases())[: len(LOG)]
    events = pl.DataFrame(some, schema=COLUMNS, orient="row")
    ranks = rank_events(session.run, events, model.item_vocabulary.ids(), 1)
    for (user, history, target), rank in zip(some, ranks.rank, strict=True):
        order, scores, _ = expected(model, user, history)
        assert rank == sum(not scores[item] < scores[target] for item in order), user


def test_the_export_and_its_card_tell_how_many_there_are(served):
    _, folder, out = served("attrec")
    sentence = missing_text({"users": 4, "items": 3})
    assert sentence in out and sentence in (folder / "assets.extra" / "README.md").read_text()
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text())
    assert card["data"]["untrained"] == {"users": 4, "items": 3}


def test_an_index_leaves_them_out(trained, tmp_path):
    model = run.load_model(trained("sasrec")[0])
    events = pl.DataFrame(list(cases()), schema=COLUMNS, orient="row")
    indexed, order, index, _ = build_index(model, events, cells=2, nprobe=2, int8=True)
    save(Servable(indexed, np.arange(len(order))[order], index=index), tmp_path)
    with Runner(tmp_path, optimize=False) as session:
        for user, history, _ in cases():
            items = session.run("serving_default", user_id=[user], history=[["", *history]])[
                "items"
            ][0]
            order, _, source = expected(model, user, history)
            if source == "model":
                assert [one.decode() for one in items if one] == [
                    item for item in order if item not in NEW
                ]


def test_a_model_without_such_rows_is_exported_as_before(trained):
    model = run.load_model(trained("attrec")[0])
    model.trained_users = model.trained_items = None
    history = {"user": tf.constant([0]), "history": tf.constant([[1, 2, 3]])}
    assert {key: value.numpy().tolist() for key, value in model.known(history).items()} == {
        "user": [0],
        "history": [[1, 2, 3]],
    }
    items, scores = model.recommend([["i0", "i1", "i2"]], k=12)
    assert len(items[0]) == 9 and min(scores[0]) > UNTRAINED


def test_the_remaining_events_move_to_the_right():
    inputs = {
        "user": tf.constant([7, 8]),
        "history": tf.constant([[0, 1, 2, 3], [2, 2, 1, 2]]),
        "time": tf.constant([[0.0, 1, 2, 3]] * 2),
    }
    kept = is_trained(np.array([True, False, True]), inputs["history"])
    assert kept.numpy().tolist() == [[False, True, False, True], [False, False, True, False]]
    found = {name: value.numpy().tolist() for name, value in drop_events(inputs, kept).items()}
    assert found == {
        "user": [7, 8],
        "history": [[0, 0, 1, 3], [0, 0, 0, 1]],
        "time": [[0, 0, 1, 3], [0, 0, 0, 2]],
    }


@pytest.mark.parametrize(
    ("model", "window", "users"),
    [
        ("attrec", "full", [True, False, False]),
        ("attrec", "all", [True, True, False]),
        ("sasrec", "full", [True, False, False]),
    ],
)
def test_users_in_examples_are_trained(model, window, users):
    from tfrec_attn.data.sequences.encoding import Sequences
    from tfrec_attn.data.sequences.vocabulary import Vocabulary

    items, offsets, times = (
        np.int32([1, 2, 4, 1, 3, 5, 2]),
        np.array([0, 3, 5, 7]),
        np.float64([1, 2, 9, 3, 8, 8, 9]),
    )
    split = temporal(
        Sequences(items, offsets, times, Vocabulary("abc"), Vocabulary("vwxyz")),
        valid_from=0.5,
        test_from=0.85,
    )
    config = configuration.from_dict({"model": {"name": model}, "data": {"window": window}})
    rows = inputs.trained_rows(config, split)
    # Before time 8 are the events of items 1, 2 and 1 alone.
    assert (rows.users.tolist(), rows.items.tolist()) == (users, [True, True, False, False, False])
    assert rows.missing() == {"users": 3 - sum(users), "items": 3}


def test_a_warm_start_knows_what_the_run_before_knew():
    earlier = TrainedRows(np.array([True, False]), np.array([True, True, False]))
    now = TrainedRows(np.array([False, False, True]), np.array([False, True, False, False]))
    rows = now.union(earlier)
    assert (rows.users.tolist(), rows.items.tolist()) == (
        [True, False, True],
        [True, True, False, False],
    )


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"trained\.npy cannot be read; train again\."),
        (lambda path: path.write_text("?"), r"trained\.npy cannot be read; train again\."),
        (
            lambda path: np.save(path, np.ones(3)),
            r"trained\.npy must say of each of 3 rows whether .*; train again\.",
        ),
        (
            lambda path: np.save(path, np.ones(2, bool)),
            r"trained\.npy .*, but has the shape \(2,\); train again\.",
        ),
    ],
)
def test_what_does_not_tell_it(tmp_path, write, message):
    write(tmp_path / "trained.npy")
    with pytest.raises(ConfigError, match=message):
        read_trained(tmp_path, "trained.npy", 3)


def test_a_lost_file_is_told(trained, tmp_path):
    import shutil

    folder = shutil.copytree(trained("attrec")[0], tmp_path / "run")
    (folder / run_files.TRAINED.items).unlink()
    with pytest.raises(ConfigError, match=r"trained_items\.npy .*restore the run"):
        run.load_model(folder)


def test_baselines_leave_untrained_items_out():
    """Users a to d; d has item 1 for training, 4 for validation and 2 for the test.

    After item 1 comes item 2, and item 3 is the most popular.
    """
    items = np.array([1, 2, 1, 2, 3, 3, 3, 1, 4, 2], np.int32)
    offsets, names = np.array([0, 2, 4, 7, 10]), (Vocabulary("abcd"), Vocabulary("wxyz"))
    sequences = Sequences(items, offsets, np.arange(10), *names)
    ends = np.array([2, 4, 7, 8])
    split = Split(sequences, ends, np.array([8]), np.array([9]), "temporal")
    found = rank_baselines(configuration.load(None, ["evaluate.repeats=exclude"]), split)
    expected = {"pop": [2], "transition": [1], "decayed_transitions": [1]}
    assert {name: ranks.tolist() for name, ranks in found.items()} == expected
