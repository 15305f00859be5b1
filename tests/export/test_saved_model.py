"""Tests of what is on disk: weights once, vocabularies as files, and only complete versions."""

import functools
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import next_version, publish, versions
from export.servable import Servable
from tests.models.contract import TYPICAL
from tfrec_attn.errors import ConfigError

EACH = pytest.mark.parametrize("name", TYPICAL)
ITEMS, USERS = 3000, 400
BATCH = {"user": np.array([1]), "history": np.array([[0, 0, 3, 5]], np.int32)}
ROOT = Path(__file__).resolve().parents[2]


class Saved(NamedTuple):
    """A model, its scores of BATCH before the export, its servable, and where that was saved."""

    model: tf.keras.Model
    scores: np.ndarray
    servable: Servable
    signatures: dict
    folder: Path


@pytest.fixture(scope="module")
def saved(make_model, tmp_path_factory):
    """A function that saves a model of some thousand items, once: `saved(name)` -> `Saved`."""

    @functools.cache
    def make(name):
        model, folder = make_model(name, USERS, ITEMS, dim=16), tmp_path_factory.mktemp("saved")
        model.compile("adam", "softmax" if model.trains_on == "next_items" else "hinge")
        scores = model(BATCH).numpy()
        servable = Servable(model, np.ones(ITEMS))
        signatures = servable.signatures()
        tf.saved_model.save(servable, str(folder), signatures=signatures)
        return Saved(model, scores, servable, signatures, folder)

    return make


@EACH
def test_weights_are_stored_once(name, saved):
    model, folder = saved(name).model.for_serving(), saved(name).folder
    read = model.tables("items") + (model.tables("users") if model.uses_user else [])
    tables = sum(4 * table.shape.num_elements() for table in read)
    on_disk = sum(path.stat().st_size for path in (folder / "variables").iterdir())
    assert tables < on_disk < 1.2 * tables


@EACH
def test_only_what_is_read_is_stored(name, saved):
    """The item matrix and popularity, tables of items that only histories read, and a user table
    only if it is read.
    """
    model, folder = saved(name).model.for_serving(), saved(name).folder
    of_histories = len(model.tables("items")) - len(model.item_columns())
    shapes = [
        shape
        for key, shape in tf.train.list_variables(str(folder / "variables" / "variables"))
        if "VARIABLE_VALUE" in key
    ]
    # Popularity and, for vectors that can be compared, their inverse norms.
    vectors = 1 + any(table.shape[1] > 1 for table in model.tables("items"))
    assert [shape for shape in shapes if shape[:1] == [ITEMS + 1]].count([ITEMS + 1]) == vectors
    assert sum(shape[0] == ITEMS + 1 for shape in shapes if shape) == 1 + vectors + of_histories
    assert sum(shape[0] == USERS + 1 for shape in shapes if shape) == model.uses_user
    small = sum(
        np.prod(weights.shape)
        for weights in model.trainable_weights
        if weights.shape[0] not in (ITEMS + 1, USERS + 1)
    )
    assert (
        sum(np.prod(shape) for shape in shapes if shape and shape[0] not in (ITEMS + 1, USERS + 1))
        == small
    )


@EACH
def test_vocabularies_are_files(name, saved):
    model, folder = saved(name).model, saved(name).folder
    files = {
        path.name: path.read_text(encoding="utf-8").splitlines()
        for path in (folder / "assets").iterdir()
    }
    expected = {"items.txt": model.item_vocabulary.ids()}
    if model.uses_user:
        expected["users.txt"] = model.user_vocabulary.ids()
    assert files == expected
    assert (folder / "saved_model.pb").stat().st_size < 2_000_000


@EACH
def test_no_request_copies_the_item_matrix(name, saved):
    """TensorFlow copies a variable that is read whole if a gather reads the variable itself.

    So gathers must read its tensor.
    """
    servable = saved(name).servable
    shared = servable.shared()
    calls = {one.name for one in shared}
    for signature, function in [*saved(name).signatures.items(), *((None, one) for one in shared)]:
        if signature is not None and signature.endswith("_joined"):
            # These call the others.
            continue
        library = function.graph.as_graph_def().library.function
        inner = [
            node.op
            for one in library
            if one.signature.name.encode() not in calls
            for node in one.node_def
        ]
        assert "ResourceGather" not in inner
        handles = {placeholder.name: handle for handle, placeholder in function.graph.captures}
        gathered = [
            op.inputs[0] for op in function.graph.get_operations() if op.type == "ResourceGather"
        ]
        assert not [one for one in gathered if handles[one.name] is servable.item_vectors.handle]


@EACH
def test_the_model_does_not_change(name, saved):
    model, scores = saved(name).model, saved(name).scores
    np.testing.assert_array_equal(model(BATCH), scores)
    table = model.tables("items")[0]
    table.assign(table * 2.0)
    changed = np.abs(model(BATCH).numpy() - scores)[:, 1:].max()
    table.assign(table / 2.0)
    assert changed > 1e-3
    np.testing.assert_array_equal(model(BATCH), scores)


def test_a_version_can_be_read_by_the_user_of_the_server(tmp_path):
    folder = publish(tmp_path / "m", None, lambda path: (path / "file").touch(), None)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


def version(base, number=None, keep=None, text="x"):
    return publish(base, number, lambda folder: (folder / "file").write_text(text) and None, keep)


def test_versions_count_up(tmp_path):
    base = tmp_path / "some" / "model"
    assert next_version(base) == 1
    assert [version(base).name for _ in range(2)] == ["1", "2"]
    assert version(base, 12).name == "12"
    for other in ("7x", "-3", "13.partial-1", "٣"):
        (base / other).mkdir()
    assert version(base) == base / "13"
    assert versions(base) == [1, 2, 12, 13]


@pytest.mark.parametrize("empty", [False, True])
def test_a_version_is_never_overwritten(tmp_path, empty):
    (tmp_path / "3").mkdir() if empty else version(tmp_path, 3, text="old")
    with pytest.raises(
        ConfigError, match=rf"^version 3 exists in {tmp_path}; name another one, or leave it out"
    ):
        version(tmp_path, 3, text="new")
    assert [path.name for path in tmp_path.iterdir()] == ["3"]
    assert empty or (tmp_path / "3" / "file").read_text() == "old"


@pytest.mark.parametrize("number", [None, 1])
def test_version_that_appears_meanwhile_stays(tmp_path, number):
    def write(folder):
        (folder / "file").write_text("slow")
        version(tmp_path, 1, text="quick")

    sentence = (
        rf"^another export has written version 1 in {tmp_path} meanwhile; export again, as another "
        r"version\.$"
    )
    with pytest.raises(ConfigError, match=sentence):
        publish(tmp_path, number, write, None)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (tmp_path / "1" / "file").read_text() == "quick"


@pytest.mark.parametrize(
    ("present", "number", "keep", "left"),
    [
        ([1, 2, 3], None, 2, [3, 4]),
        ([1, 2, 3], None, 9, [1, 2, 3, 4]),
        ([2, 10, 9], None, 3, [9, 10, 11]),
        ([1, 2], None, 1, [3]),
        ([5, 6, 7], 2, 2, [2, 5, 6, 7]),
        ([1, 6, 7], 2, 2, [2, 6, 7]),
        ([], None, 1, [1]),
    ],
)
def test_lowest_versions_are_removed(tmp_path, present, number, keep, left):
    for one in present:
        version(tmp_path, one)
    version(tmp_path, number, keep)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, left))


def test_protected_versions_stay(tmp_path):
    for one in (1, 2, 3):
        version(tmp_path, one)
    publish(tmp_path, 4, lambda folder: (folder / "file").touch(), 2, protect=[1, 9])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "4"]


@pytest.mark.parametrize("kind", ["copied", "added", "changed", "empty folder", "link"])
def test_version_of_another_program_stays(tmp_path, kind):
    base, elsewhere, lines = tmp_path / "m", tmp_path / "elsewhere", []
    version(base, 1)
    if kind == "link":
        (base / "1").rename(elsewhere)
        (base / "1").symlink_to(elsewhere)
    elif kind == "copied":
        (base / "1" / "assets.extra" / "SHA256SUMS").unlink()
    elif kind == "empty folder":
        (base / "1" / "plots").mkdir()
    else:
        (base / "1" / ("file" if kind == "changed" else "notes.txt")).write_text("mine")
    before = {str(path): path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    version(base, 2)
    publish(base, 3, lambda folder: (folder / "file").touch(), 1, lines.append)
    assert versions(base) == [1, 3]
    assert (
        before.items()
        <= {str(path): path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}.items()
    )
    path = {"added": "/notes.txt", "changed": "/file", "empty folder": "/plots"}.get(kind, "")
    assert lines == [f"Version 1 stays: {base / '1'}{path} was not written by this program."]


def test_checksums_of_a_version(tmp_path):
    folder = version(tmp_path)
    # Of "x", by sha256sum.
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert (folder / "assets.extra" / "SHA256SUMS").read_text() == f"{digest}  file\n"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_an_export_that_fails(tmp_path, error):
    base = tmp_path / "new" / "model"

    def write(folder):
        (folder / "saved_model.pb").write_text("half")
        assert not [path for path in base.iterdir() if path.name.isdigit() and path.name != "1"]
        raise error

    with pytest.raises(error):
        publish(base, None, write, None)
    assert list(tmp_path.iterdir()) == []

    (base / "1").mkdir(parents=True)
    (base / "1" / "file").touch()
    with pytest.raises(error):
        publish(base, None, write, 1)
    assert [path.name for path in base.rglob("*")] == ["1", "file"]


def test_an_export_that_is_killed_half_way_leaves_no_version(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from typing import NamedTuple
from export.saved_model import publish

def write(folder):
    (folder / "saved_model.pb").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

publish(Path({str(tmp_path)!r}), None, write, None)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_USE_LEGACY_KERAS": "1"}
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True
        ).returncode
        == -signal.SIGKILL
    )
    assert [path.name for path in tmp_path.rglob("saved_model.pb")] == ["saved_model.pb"]
    assert versions(tmp_path) == []
    for foreign in (".unfinished-1", ".unfinished-2"):
        (tmp_path / foreign).mkdir()
    (tmp_path / ".unfinished-2" / "lock").write_text("mine")
    target = next(path.parent.parent for path in tmp_path.rglob("saved_model.pb"))
    # One comes before its target, one after it.
    for link in (".unfinished-", ".unfinished-~"):
        (tmp_path / link).symlink_to(target)
    assert (
        publish(tmp_path, None, lambda folder: (folder / "whole").touch(), None) == tmp_path / "1"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".unfinished-",
        ".unfinished-1",
        ".unfinished-2",
        ".unfinished-~",
        "1",
    ]


def test_an_export_that_runs_is_not_a_leftover(tmp_path):
    def write(folder):
        version(tmp_path, 7)
        (folder / "file").write_text("slow")

    assert (publish(tmp_path, 8, write, None) / "file").read_text() == "slow"


def test_a_full_disk(tmp_path):
    def write(folder):
        raise OSError(28, "No space left on device", str(folder / "variables"))

    with pytest.raises(
        ConfigError,
        match=rf"^{tmp_path} cannot be written: No space left on device; name a folder that can\.$",
    ):
        publish(tmp_path, None, write, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file", r"is a file; name a folder for the versions of the model\."),
        ("file/model", r"cannot be written: .+; name a folder that can\."),
    ],
)
def test_unwritable_folder(tmp_path, folder, reason):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/{folder} {reason}$"):
        version(tmp_path / folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("saved_model.pb", "a version, but must be the folder of the versions; name {parent}."),
        ("metrics.json", "a run; name another folder for the versions of the model."),
    ],
)
def test_folders_of_another_kind(tmp_path, file, reason):
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / file).write_text("")
    with pytest.raises(ConfigError) as error:
        version(folder)
    assert str(error.value) == f"{folder} is {reason.format(parent=tmp_path)}"
    assert [path.name for path in folder.iterdir()] == [file]


def test_loading_in_python(served):
    model, _, runner = served("attrec")
    history = [["", *model.item_vocabulary.ids()[:2]]]
    loaded = tf.saved_model.load(str(runner.path)).signatures["serving_default"]
    items = loaded(user_id=tf.constant(["u"]), history=tf.constant(history))["items"].numpy()
    expected = runner.run("serving_default", user_id=["u"], history=history)["items"]
    np.testing.assert_array_equal(items, expected)
