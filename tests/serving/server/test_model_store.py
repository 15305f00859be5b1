"""Versions that come, go and break in a watched folder, with the error messages of TF Serving."""

import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.protocol.statuses import StatusError
from serving.server.batching import BatchOptions
from serving.server.loaded_model import WARMUP
from serving.server.model_config import ModelConfig, VersionPolicy, parse_policy
from serving.server.model_store import ModelStore

SECONDS = 60
TEXT = {"text": np.array([[b"a", b"b"]], object)}


@pytest.fixture
def versions(tmp_path, toy):
    """A function that adds copies of version 1 of the toy model to a folder: `versions(2, 3)`."""

    def add(*numbers):
        for number in numbers:
            shutil.copytree(toy / "1", tmp_path / "partial")
            (tmp_path / "partial").rename(tmp_path / "toy" / str(number))
        return tmp_path / "toy"

    (tmp_path / "toy").mkdir()
    return add


@pytest.fixture
def make_store():
    """A function that makes a store that polls on demand: `make_store(folder, **config)`."""
    stores = []

    def make(folder, options=None, **config):
        stores.append(ModelStore([ModelConfig("toy", folder, **config)], **(options or {})))
        stores[-1].poll()
        return stores[-1]

    yield make
    for store in stores:
        store.stop()


def refused(call):
    with pytest.raises(StatusError) as raised:
        call()
    return raised.value.code.name, raised.value.message


def states(store):
    return {one.version: one.State.Name(one.state) for one in store.status("toy")}


def which(store, **version):
    return store.predict("toy", "", TEXT, **version)[0]


def test_answers_with_version_and_signature(make_store, toy):
    version, signature, outputs = make_store(toy).predict("toy", "", TEXT)
    assert (version, signature, outputs["joined"].tolist()) == (1, "serving_default", [b"a,b"])


def test_only_the_outputs_that_are_asked_for(make_store, toy):
    assert list(make_store(toy).predict("toy", "", TEXT, outputs=["version"])[2]) == ["version"]


def test_a_new_version_takes_over_and_the_old_one_ends(make_store, versions):
    store = make_store(versions(1))
    versions(2)
    assert which(store) == 1
    store.poll()
    assert which(store) == 2
    assert states(store) == {2: "AVAILABLE", 1: "END"}
    assert refused(lambda: which(store, version=1)) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(toy, 1)",
    )


def test_the_old_version_stays_until_its_requests_are_answered(make_store, versions):
    store = make_store(versions(1))
    with store.using("toy") as old:
        versions(2)
        store.poll()
        assert states(store) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert old.model.run("", TEXT, ())["joined"].tolist() == [b"a,b"]
    store.poll()
    assert states(store) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(StatusError):
        old.model.run("", TEXT, ())


def test_a_corrupt_version_is_reported_and_the_old_one_keeps_serving(make_store, versions, caplog):
    store = make_store(versions(1))
    path = versions(2) / "2" / "saved_model.pb"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    store.poll()
    newest = store.status("toy", 2)[0]
    assert newest.state == ModelVersionStatus.END
    newest, code = newest.status.error_message, newest.status.error_code
    assert code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert newest.startswith("version 2 of model toy cannot be loaded as a SavedModel (")
    # A client does not learn where the files are; the terminal of the server says it.
    assert str(path.parents[1]) not in newest
    assert store.problem("toy").startswith(f"{path.parent} cannot be loaded as a SavedModel (")
    assert str(path.parent) in caplog.text
    assert which(store) == 1 and states(store) == {2: "END", 1: "AVAILABLE"}
    assert [record.getMessage()[:30] for record in caplog.records] == [
        "Version 2 of model toy is not "
    ]
    store.poll()
    assert len(caplog.records) == 1, (
        "a version that failed is tried again only when its files have changed"
    )
    path.write_bytes(whole)
    store.poll()
    assert which(store) == 2 and states(store) == {2: "AVAILABLE", 1: "END"}


def test_a_version_whose_warm_up_fails_takes_no_requests(make_store, versions):
    store = make_store(versions(1))
    path = versions(2) / "2" / WARMUP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff")
    store.poll()
    assert which(store) == 1
    assert store.status("toy", 2)[0].status.error_message.startswith(
        f"request 1 of {WARMUP} cannot be read ("
    )
    assert store.problem("toy").startswith(f"request 1 of {path} cannot be read (")


def test_a_corrupt_version_between_two_good_ones(make_store, versions):
    folder = versions(1, 2, 3)
    (folder / "2" / "saved_model.pb").write_bytes(b"")
    store = make_store(folder, policy=VersionPolicy(every=True))
    assert states(store) == {3: "AVAILABLE", 2: "END", 1: "AVAILABLE"}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("latest", [4]),
        ("latest:2", [3, 4]),
        ("all", [1, 3, 4]),
        ("3", [3]),
        ("1,4", [1, 4]),
        ("1,2", [1]),
    ],
)
def test_policies(make_store, versions, policy, served):
    folder = versions(1, 3, 4)
    (folder / "7.partial").mkdir()
    (folder / "8").write_text("a file")
    store = make_store(folder, policy=parse_policy(policy))
    assert store.available("toy") == served
    assert which(store) == served[-1]
    assert [which(store, version=number) for number in served] == served


@pytest.mark.parametrize("text", ["", "newest", "latest:0", "latest:x", "1,", "-1", "1.5"])
def test_a_policy_that_is_none(text):
    with pytest.raises(
        ValueError,
        match="^versions must be latest, latest:2, all or numbers such as 1,4, "
        f"but are '{text}'\\.$",
    ):
        parse_policy(text)


def test_a_version_that_is_removed_goes_last(make_store, versions):
    folder = versions(1, 2)
    store = make_store(folder)
    shutil.rmtree(folder / "2")
    store.poll()
    assert which(store) == 1, "back to the version before, and only then away with the other"
    shutil.rmtree(folder / "1")
    store.poll()
    assert refused(lambda: which(store)) == (
        "NOT_FOUND",
        "Servable not found for request: Latest(toy)",
    )
    assert not store.ready()


def test_a_folder_that_cannot_be_read_changes_nothing(make_store, versions, caplog):
    folder = versions(1)
    store = make_store(folder)
    folder.rename(folder.with_name("elsewhere"))
    store.poll()
    assert which(store) == 1 and store.ready()
    assert "cannot be read" in caplog.text


def test_labels(make_store, versions):
    store = make_store(
        versions(1, 2),
        policy=VersionPolicy(every=True),
        labels={"stable": 1, "canary": 2, "future": 9},
    )
    assert [which(store, label=label) for label in ("stable", "canary")] == [1, 2]
    assert refused(lambda: which(store, label="future")) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(toy, 9)",
    )
    assert refused(lambda: which(store, label="nope")) == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: nope",
    )
    labels = {"stable": 2, "future": 9}
    store.reload([ModelConfig("toy", None, VersionPolicy(every=True), labels)])
    assert which(store, label="stable") == 2 and store.labels("toy") == {"stable": 2, "future": 9}
    assert refused(lambda: which(store, label="canary"))[0] == "INVALID_ARGUMENT"


def test_a_label_does_not_move_to_a_version_that_is_not_there(make_store, toy):
    store = make_store(toy, labels={"stable": 1})
    for labels in ({"stable": 2}, {"stable": 1, "canary": 2}):
        assert refused(lambda labels=labels: store.reload([ModelConfig("toy", labels=labels)])) == (
            "FAILED_PRECONDITION",
            "Request to assign label to version 2 of model toy, "
            "which is not currently available for inference",
        )
    assert store.labels("toy") == {"stable": 1}


def test_unknown_models(make_store, toy):
    store = make_store(toy)
    missing = ("NOT_FOUND", "Servable not found for request: Latest(x)")
    assert refused(lambda: store.predict("x", "", TEXT)) == missing
    assert refused(lambda: store.using("x").__enter__()) == missing
    assert refused(lambda: store.predict("x", "", TEXT, version=3)) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(x, 3)",
    )
    assert refused(lambda: store.status("x")) == (
        "NOT_FOUND",
        "Could not find any versions of model x",
    )
    assert refused(lambda: store.status("toy", 3)) == (
        "NOT_FOUND",
        "Could not find version 3 of model toy",
    )
    assert refused(lambda: store.predict("", "", TEXT)) == (
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    )
    assert refused(lambda: store.predict("toy", "nope", TEXT)) == (
        "FAILED_PRECONDITION",
        'Serving signature key "nope" not found.',
    )
    assert which(store) == 1


def test_metadata_and_status(make_store, toy):
    store = make_store(toy, labels={"stable": 1})
    with store.using("toy", label="stable") as found:
        number = found.model.definitions.signature_def["strict"].inputs["number"]
        assert found.number == 1 and number.dtype == tf.int32.as_datatype_enum
    assert [status.version for status in store.status("toy", label="stable")] == [1]
    assert store.names() == ["toy"] and store.ready()


def test_reload_changes_policies_and_labels(make_store, versions):
    folder = versions(1, 2)
    store = make_store(folder)
    store.reload([ModelConfig("toy", None, VersionPolicy(specific=(1, 2)), {"stable": 1})])
    assert store.available("toy") == [1, 2] and which(store, label="stable") == 1
    store.reload([ModelConfig("toy", str(folder), VersionPolicy(specific=(2,)), {"stable": 2})])
    assert store.available("toy") == [2] and which(store, label="stable") == 2


def test_reload_takes_models_out_and_in_again(make_store, toy):
    store = make_store(toy, labels={"stable": 1})
    store.reload([])
    assert store.names() == [] and refused(lambda: which(store))[0] == "NOT_FOUND"
    store.reload([ModelConfig("toy")])
    assert which(store) == 1 and store.labels("toy") == {}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            [ModelConfig("x")],
            "Model x is not one that this server was started with; name one of toy.",
        ),
        (
            [ModelConfig("toy", "/etc")],
            "The base_path of model toy cannot be changed while the server runs; leave it empty.",
        ),
        ([ModelConfig("toy"), ModelConfig("toy")], "Model toy is configured twice; name it once."),
    ],
)
def test_reload_reaches_no_other_folder(make_store, toy, models, message):
    store = make_store(toy)
    assert refused(lambda: store.reload(models)) == ("INVALID_ARGUMENT", message)
    assert which(store) == 1


def test_models_need_names_of_their_own(toy):
    with pytest.raises(
        ValueError,
        match=r"^every model must have a folder and a name of its own, but the names are a, a\.$",
    ):
        ModelStore([ModelConfig("a", toy), ModelConfig("a", toy)])


def test_without_batches_requests_are_not_limited_in_rows(make_store, toy):
    store = make_store(toy, options={"batching": None})
    many = {"text": np.full([100, 1], b"a", object)}
    assert len(store.predict("toy", "", many)[2]["joined"]) == 100
    assert store.predict("toy", "scalar", {"x": np.float32(1)})[2]["y"] == 2
    batched = make_store(toy)
    assert refused(lambda: batched.predict("toy", "", many))[1].startswith(
        "Task size 100 is larger"
    )
    assert (
        refused(lambda: batched.predict("toy", "scalar", {"x": np.float32(1)}))[0]
        == "INVALID_ARGUMENT"
    )


def samples(store, name):
    """Samples of a metric: labels -> value."""
    lines = [
        line for line in store.metrics.render().decode().splitlines() if line.startswith(name + "{")
    ]
    return {line[len(name) : line.rindex(" ")]: float(line.rsplit(" ", 1)[1]) for line in lines}


def test_counts_what_happens(make_store, versions):
    store = make_store(versions(1))
    for _ in range(3):
        which(store)
    refused(lambda: store.predict("toy", "strict", {"number": np.array([13], np.int32)}))
    refused(lambda: store.predict("toy", "made up", TEXT))
    refused(lambda: store.predict("made up", "", TEXT))
    assert samples(store, "serving_requests_total") == {
        '{model="toy",signature="serving_default",status="OK"}': 3,
        '{model="toy",signature="strict",status="INVALID_ARGUMENT"}': 1,
        '{model="toy",signature="",status="FAILED_PRECONDITION"}': 1,
        '{model="",signature="",status="NOT_FOUND"}': 1,
    }
    assert (
        samples(store, "serving_request_seconds_count")['{model="toy",signature="serving_default"}']
        == 3
    )
    assert (
        samples(store, "serving_batch_rows_sum")['{model="toy",signature="serving_default"}'] == 3
    )
    assert samples(store, "serving_loaded_version") == {'{model="toy",version="1"}': 1}
    assert samples(store, "serving_queued_rows")['{model="toy",signature="strict"}'] == 0
    versions(2)
    store.poll()
    assert samples(store, "serving_loaded_version") == {'{model="toy",version="2"}': 1}
    assert samples(store, "serving_versions_loaded_total") == {'{model="toy"}': 2}


def test_two_stores_count_apart(make_store, toy):
    one, other = make_store(toy), make_store(toy)
    which(one)
    assert samples(other, "serving_requests_total") == {}


def test_an_old_status_is_forgotten(make_store, versions):
    store = make_store(versions(1))
    model = store._models["toy"]
    for number in range(100, 130):
        model._set(number, ModelVersionStatus.END)
    assert len(store.status("toy")) == 11


def test_swaps_under_load(tmp_path, write_toy):
    """Threads send requests while versions come: no request fails."""
    folder = tmp_path / "toy"
    write_toy(folder, 1)
    store = ModelStore(
        [ModelConfig("toy", folder)], batching=BatchOptions(max_batch_size=4), poll=0.01
    )
    changed, stop = threading.Event(), threading.Event()
    store.on_change(changed.set)
    store.start()

    def ask(worker):
        seen, choice = set(), random.Random(worker)
        while not stop.is_set():
            row = [f"{worker}".encode()] * choice.choice([1, 2])
            version, _, outputs = store.predict("toy", "", {"text": np.array([row], object)})
            assert outputs["version"].tolist() == [version]
            assert outputs["joined"][0].split(b",") == row or set(
                outputs["joined"][0].split(b",")
            ) == {row[0]}
            seen.add(version)
        return seen

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(ask, worker) for worker in range(4)]
        try:
            for number in (2, 3, 4):
                write_toy(folder, number)
                while store.available("toy") != [number]:
                    changed.clear()
                    assert changed.wait(SECONDS)
        finally:
            stop.set()
        seen = set().union(*(future.result(SECONDS) for future in futures))
    store.stop()
    assert seen <= {1, 2, 3, 4} and len(seen) > 1
    counted = samples(store, "serving_requests_total")
    assert list(counted) == ['{model="toy",signature="serving_default",status="OK"}']
