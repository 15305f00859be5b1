"""Tests of loading and running a SavedModel, on a small module with outputs computed by NumPy."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfrec_attn.errors import ConfigError
from tfrec_attn.runtime.runner import Runner, version_folder

IDS = ["i1", "日本語", "a b"]
WEIGHTS = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)


class Sums(tf.Module):
    """Returns the sums of the weights of known ids, and the users as they came."""

    def __init__(self, path):
        super().__init__()
        path.write_text("".join(f"{one}\n" for one in IDS), encoding="utf-8")
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(path), tf.string, line, tf.int64, number), -1
        )
        self.weights = tf.Variable(WEIGHTS)

    def sums(self, user_id, history):
        rows = self.table.lookup(history) + 1
        return {
            "sums": tf.reduce_sum(tf.gather(tf.convert_to_tensor(self.weights), rows), axis=1),
            "user": user_id,
        }

    def count(self, k):
        return {"more": k + 1}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    module = Sums(folder / "ids.txt")
    texts = {
        "user_id": tf.TensorSpec([None], tf.string),
        "history": tf.TensorSpec([None, None], tf.string),
    }
    sums = tf.function(module.sums).get_concrete_function(**texts)
    count = tf.function(module.count).get_concrete_function(k=tf.TensorSpec([None], tf.int32))
    tf.saved_model.save(module, str(folder / "7"), signatures={"sums": sums, "count": count})
    (folder / "ids.txt").unlink()
    return folder / "7"


@pytest.fixture(scope="module")
def runner(saved):
    with Runner(saved) as runner:
        yield runner


def test_signatures_have_names_types_and_shapes(runner):
    described = {
        name: [
            {one: (tensor.dtype, tensor.shape) for one, tensor in tensors.items()}
            for tensors in both
        ]
        for name, both in runner.signatures.items()
    }
    assert described == {
        "count": [{"k": (tf.int32, (None,))}, {"more": (tf.int32, (None,))}],
        "sums": [
            {"history": (tf.string, (None, None)), "user_id": (tf.string, (None,))},
            {"sums": (tf.float32, (None, 2)), "user": (tf.string, (None,))},
        ],
    }


def test_outputs(runner):
    answer = runner.run("sums", user_id=["u1", "ü"], history=[["", "日本語"], ["a b", "i1"]])
    assert set(answer) == {"sums", "user"}
    np.testing.assert_array_equal(answer["sums"], [WEIGHTS[2], WEIGHTS[3] + WEIGHTS[1]])
    assert answer["user"].tolist() == [b"u1", "ü".encode()]


def test_arrays_of_any_kind_of_text(runner):
    histories = [["a b", "i1"]]
    for array in (
        np.array(histories),
        np.array(histories, object),
        np.array([[one.encode() for one in histories[0]]], object),
    ):
        np.testing.assert_array_equal(
            runner.run("sums", user_id=["u"], history=array)["sums"], [WEIGHTS[3] + WEIGHTS[1]]
        )


def test_numbers_take_the_type_of_the_signature(runner):
    assert runner.run("count", k=[1, 2])["more"].tolist() == [2, 3]
    assert runner.run("count", k=np.array([1], np.int64))["more"].dtype == np.int32


def test_no_rows(runner):
    answer = runner.run("sums", user_id=[], history=np.zeros([0, 3], object))
    assert answer["sums"].shape == (0, 2)
    assert answer["user"].shape == (0,)


def test_a_closed_runner_does_not_run(saved):
    with Runner(saved) as runner:
        assert runner.run("count", k=[4])["more"].tolist() == [5]
    with pytest.raises(RuntimeError, match="closed"):
        runner.run("count", k=[4])


def test_the_newest_version_is_taken(saved, tmp_path):
    for name in ("9", "10", "11.partial-3", "0x20", "²"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "12").mkdir()
    assert version_folder(tmp_path) == tmp_path / "10"
    assert version_folder(saved) == saved
    with Runner(saved.parent) as runner:
        assert runner.path == saved


def test_loading_leaves_the_log_of_tensorflow_as_it_was(saved, capfd):
    logger = tf.get_logger()
    before = logger.level
    Runner(saved).close()
    assert logger.level == before
    assert "deprecated" not in capfd.readouterr().err


def assert_one_sentence(error, *pieces):
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    for piece in pieces:
        assert piece in text


def test_folders_without_a_saved_model(saved, tmp_path):
    with pytest.raises(ConfigError) as error:
        Runner(tmp_path / "missing")
    assert_one_sentence(
        error,
        f"{tmp_path / 'missing'} is not a SavedModel",
        "no such folder",
        "python -m tfrec_attn.export",
    )
    with pytest.raises(ConfigError) as error:
        Runner(tmp_path)
    assert_one_sentence(
        error, f"{tmp_path} is not a SavedModel", "neither saved_model.pb nor a version"
    )
    with pytest.raises(ConfigError) as error:
        Runner(saved / "saved_model.pb")
    assert_one_sentence(error, "saved_model.pb is not a SavedModel")


def truncate(folder):
    content = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda folder: (folder / "saved_model.pb").write_bytes(b""),
        lambda folder: shutil.rmtree(folder / "variables"),
        lambda folder: (folder / "assets" / "ids.txt").unlink(),
    ],
    ids=["truncated", "empty", "no-variables", "no-asset"],
)
def test_damaged_saved_models(saved, tmp_path, damage):
    folder = tmp_path / "1"
    shutil.copytree(saved, folder)
    damage(folder)
    with pytest.raises(ConfigError) as error:
        Runner(folder)
    assert_one_sentence(error, f"{folder} cannot be loaded as a SavedModel (", "export it again")


def test_unknown_signatures_and_inputs(runner):
    with pytest.raises(ConfigError) as error:
        runner.run("sum", k=[1])
    assert_one_sentence(error, f"{runner.path} has no signature 'sum'; it has count, sums")
    for given in ({}, {"history": [["a"]]}, {"history": [["a"]], "user_id": ["u"], "k": [1]}):
        with pytest.raises(ConfigError) as error:
            runner.run("sums", **given)
        assert_one_sentence(
            error,
            "Signature sums takes history, user_id, but was given",
            ", ".join(given) or "nothing",
        )
