"""Exports for programs without TensorFlow: the runner, what is refused, and both formats."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export import command
from export.portable import formats, list_agreement
from export.portable.recommender import Recommender, main
from tests.commands import assert_refused, assert_sentence, run_command
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run

FORMATS = ("onnx", "litert")
# Items "a".."d"; "d" has no training events.
POPULARITY = np.array([0.2, 0.5, 0.3, -1e38], np.float32)
VECTORS = np.array([[1, 0], [0, 1], [1, 1], [9, 9]], np.float32)


def needs(form):
    """Skips a test without the packages of a format."""
    try:
        formats.check_packages(form)
    except ConfigError as error:
        pytest.skip(str(error))


def fake(prior=(), **about):
    """A recommender whose query is the numbers of the latest two items, oldest first."""
    calls = []

    def encode(**inputs):
        calls.append({name: value.tolist() for name, value in inputs.items()})
        outputs = {"query": inputs["history"].astype(np.float32)}
        if prior:
            items, scores = zip(*prior, strict=True)
            outputs["prior_items"] = np.array([items], np.int32)
            outputs["prior_scores"] = np.array([scores], np.float32)
        return outputs

    rest = {"max_length": 2, "uses_user": False, "uses_history": True, "keep_seen": False}
    return Recommender(
        encode, list("abcd"), VECTORS, POPULARITY, {**rest, **about}, ["", "u"]
    ), calls


def test_lists_worked_by_hand():
    recommender, calls = fake(keep_seen=True)
    # The query of a, b is [1, 2]: 1 for a, 2 for b, 3 for c. The item d comes last.
    found = recommender.recommend(["c", "?", "a", "d", "b"], k=9)
    assert found.items == ["c", "b", "a", "d"]
    assert found.scores[:3] == [3, 2, 1]
    assert found.source == "model"
    assert calls == [{"history": [[1, 2]]}]
    # Of equals the first of the items comes first: [1, 1] gives a and b the score 1.
    assert recommender.recommend(["a", "a"], k=2).items == ["c", "a"]
    recommender, _ = fake()
    assert recommender.recommend(["a", "b"]).items == ["c", "d"]
    assert recommender.recommend(["a"], exclude=["c", "?"], k=1).items == ["b"]


def test_a_prior_adds_to_some_scores():
    recommender, _ = fake(prior=[(0, 7.0), (1, 5.0), (3, -2.5)], keep_seen=True)
    found = recommender.recommend(["a", "b"], k=3)
    assert dict(zip(found.items, found.scores, strict=True)) == {"a": 6, "b": 2, "c": 0.5}


def test_popular_items_where_nothing_is_known():
    recommender, calls = fake()
    for history in ([], ["?"], ["d"]):
        found = recommender.recommend(history, k=3)
        assert found.items == ["b", "c", "a"]
        assert found.source == "popular"
    assert calls == []
    recommender, calls = fake(uses_user=True, uses_history=False)
    assert recommender.recommend(["a"], user="?").source == "popular"
    assert recommender.recommend([], user="u").source == "model"
    assert calls == [{"history": [[0, 0]], "user": [2]}]


def test_what_the_runner_refuses(tmp_path):
    recommender, _ = fake()
    with pytest.raises(ValueError, match="k must be an integer of at least 1, but is 0"):
        recommender.recommend(["a"], k=0)
    with pytest.raises(ValueError, match="history must be a list of ids, but is 'a'; write"):
        recommender.recommend("a")
    assert_refused(run_command(main, tmp_path), 2, "a version that the export wrote", "model.json")
    (tmp_path / "model.json").write_text('{"format": "pickle"}')
    assert_refused(run_command(main, tmp_path), 2, "cannot be read ('pickle')")


def test_differences_of_lists():
    there = {"a": 10.0, "b": 5.0, "c": 5.0}, "model"
    rounded = {"a": 10.0004, "c": 5.0, "x": 5.0}, "model"
    assert list_agreement.difference_of(there, rounded) is None
    for items, source, words in (
        ({"a": 10.0, "b": 5.0}, "model", "there are 2 items instead of 3"),
        (there[0], "popular", "the source is popular instead of model"),
        ({**there[0], "a": 10.1}, "model", "'a' has the score 10.1 instead of 10"),
        ({"a": 10.0, "b": 5.0, "x": 5.5}, "model", "'x' has the score 5.5 instead of 5"),
        ({**there[0], "a": float("nan")}, "model", "'a' has the score nan instead of 10"),
    ):
        assert list_agreement.difference_of(there, (items, source)) == words


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    formats.check_packages("savedmodel")
    with pytest.raises(ConfigError) as error:
        formats.check_packages("onnx")
    assert_sentence(error.value, "needs tf2onnx and onnxruntime", "'tfrec-attn[onnx]'")


@pytest.mark.parametrize(("file", "form"), [("saved_model.pb", "onnx"), ("model.onnx", "litert")])
def test_one_format_in_a_folder(file, form, run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: True)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / file).touch()
    result = run_command(command.main, run_folder("attrec"), "--to", tmp_path, "--format", form)
    assert_refused(result, 2, f"in the format {form} only, but 7 is", "name another folder")
    assert [path.name for path in tmp_path.iterdir()] == ["7"]


@pytest.fixture(scope="module")
def portable(run_folder, tmp_path_factory):
    """A function that exports the run of a model in a format: (run, version folder, stdout)."""
    made = {}

    def export(name, form):
        needs(form)
        if (name, form) not in made:
            base = tmp_path_factory.mktemp("portable") / "shop"
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                command.export(run_folder(name), base, format=form)
            made[name, form] = run_folder(name), base / "1", out.getvalue()
        return made[name, form]

    return export


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["attrec", "decayed_transitions"])
def test_lists_are_those_of_the_run(name, form, portable):
    run_folder, folder, printed = portable(name, form)
    assert "32 lists of 10 are those of the SavedModel." in printed
    model, recommender = run.load_model(run_folder), Recommender.from_folder(folder)
    items, users = model.item_vocabulary.ids(), model.user_vocabulary.ids()
    histories = [[items[3], items[0], items[3], "?", items[9]], [items[5]], items[:8]]
    lists, scores = model.recommend(histories, 6, users=["?", *users[:2]])
    for history, user, best, values in zip(histories, ["", *users[:2]], lists, scores, strict=True):
        found = recommender.recommend(history, 6, user)
        assert found.items == best
        np.testing.assert_allclose(found.scores, values, rtol=1e-4)
    assert recommender.recommend([], 1).source == "popular"
    about = json.loads((folder / "model.json").read_text())
    assert about["model"] == name and about["version"] == 1 and about["items"] == len(items)
    assert (about["prior"] is None) == (name == "attrec")


@pytest.mark.parametrize("form", FORMATS)
def test_the_folder_needs_nothing_of_this_package(form, portable):
    run_folder, folder, _ = portable("attrec", form)
    model = run.load_model(run_folder)
    item = model.item_vocabulary.ids()[7]
    program = (
        "import sys, recommender\n"
        f"code = recommender.main(['--history', {item!r}, '--k', '3'])\n"
        "assert not {'tensorflow', 'tfrec_attn', 'export'} & {*sys.modules}\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["items"] == model.recommend([[item]], 3)[0][0]


@pytest.mark.parametrize("form", FORMATS)
def test_operations_that_a_converter_does_not_take(form, make_model, monkeypatch):
    needs(form)
    from export.model_copy import with_item_matrix
    from export.portable.conversion import convert

    model, _ = with_item_matrix(make_model("sasrec"))
    monkeypatch.setattr(
        type(model),
        "query_vectors",
        lambda self, features, training=False: tf.signal.irfft(
            tf.signal.rfft(tf.cast(features["history"], tf.float32)), [2]
        ),
    )
    with pytest.raises(ConfigError) as error:
        convert(model, form)
    assert_sentence(error.value, f"SASRec cannot be exported with --format {form}", "IRFFT")


def _changed(**values):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.onnx", lambda path: path.unlink()),
        ("model.onnx", lambda path: path.write_bytes(path.read_bytes()[:-300])),
        ("item_vectors.npy", lambda path: path.write_bytes(b"")),
        ("item_vectors.npy", lambda path: np.save(path, np.load(path)[:, 1:])),
        ("popularity.npy", lambda path: np.save(path, np.float32(3))),
        ("items.txt", lambda path: path.write_text("a\n")),
        ("model.json", _changed(max_length=3)),
        ("model.json", _changed(keep_seen=None)),
        ("model.json", lambda path: path.write_text("[" * 100_000)),
    ],
)
def test_damaged_folders(file, damage, portable, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(portable("attrec", "onnx")[1], folder)
    damage(folder / file)
    assert_refused(run_command(main, folder), 2, "cannot be read (", "; export it again")


def test_other_lists_leave_nothing(portable, run_folder, tmp_path, monkeypatch):
    needs("onnx")
    scores = Recommender.scores

    def wrong(self, *arguments):
        values, source = scores(self, *arguments)
        return values * 1.01, source

    monkeypatch.setattr(Recommender, "scores", wrong)
    to = tmp_path / "shop"
    result = run_command(command.main, run_folder("attrec"), "--to", to, "--format", "onnx")
    assert_refused(result, 2, "The lists must be those of the SavedModel", "does not hold")
    assert not to.exists()


def test_weights_that_no_file_holds(make_model, monkeypatch):
    from export.model_copy import with_item_matrix
    from export.portable import conversion

    monkeypatch.setattr(conversion, "_MOST_BYTES", 100)
    with pytest.raises(ConfigError) as error:
        conversion.convert(with_item_matrix(make_model("bpr_mf"))[0], "onnx")
    assert_sentence(error.value, "must have less than", "export a SavedModel")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("items", [12, 100])
def test_a_prior_is_part_of_the_encoder(items, form, make_model, tmp_path):
    needs(form)
    from export.model_copy import with_item_matrix
    from export.portable import recommender
    from export.portable.conversion import convert
    from tfrec_attn.layers.transition_prior import TransitionPrior

    # So few items are summed in a table of all; of many, those of the history are sorted.
    model = make_model("sasrec", items=items)
    prior = model.transition_prior = TransitionPrior(model.num_items, 1, name="transition_prior")
    rows, values = np.zeros([2, model.num_items + 1, 1])
    # Item 3 follows item 1, and item 4 follows item 2.
    rows[1], values[1], rows[2], values[2] = 3, 3, 4, 2
    prior.rows.set_rows(rows, values)
    prior.weight.assign(2.0)
    prior.epsilon.assign(0.25)
    (tmp_path / formats.FILES[form]).write_bytes(convert(with_item_matrix(model)[0], form))
    encode = {"onnx": recommender._onnx, "litert": recommender._litert}[form](tmp_path)
    history = np.zeros([1, model.max_length], np.int32)
    history[0, -3:] = 1, 2, 1
    found = encode(history=history)
    items, scores = found["prior_items"][0], found["prior_scores"][0]
    added = {int(item): score for item, score in zip(items, scores, strict=True) if score}
    # 1 is the latest and the third latest of the history: T of 3 is 3 + 3 / 3, that of 4 is 2 / 2.
    expected = {3: 2 * np.log(1 + 4 / 5 / 0.25), 4: 2 * np.log(1 + 1 / 5 / 0.25)}
    assert added == pytest.approx(expected, rel=1e-5)
