"""Arrays of every type go through a session of the C API and come back as they were; what fails
says so, and nothing is left behind.
"""

import ctypes
import gc
import resource

import numpy as np
import pytest
import tensorflow as tf

from serving.protocol.statuses import StatusError
from serving.server import saved_session
from serving.server.saved_session import SavedSession

TYPES = [
    tf.float32,
    tf.float64,
    tf.int32,
    tf.int64,
    tf.int16,
    tf.int8,
    tf.uint8,
    tf.bool,
    tf.string,
]


def same(x):
    return {"y": tf.identity(x)}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions") / "1"
    functions = {
        f"of_{kind.name}": tf.function(same).get_concrete_function(
            tf.TensorSpec(None, kind, name="x")
        )
        for kind in TYPES
    }
    halved = tf.function(lambda x: {"y": tf.cast(x, tf.float16)}).get_concrete_function(
        tf.TensorSpec(None, tf.float32, name="x")
    )
    tf.saved_model.save(tf.Module(), str(folder), signatures={**functions, "of_half": halved})
    opened = SavedSession(
        folder,
        tf.compat.v1.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1),
    )
    yield opened
    opened.close()


def function(session, name):
    definition = session.definitions[name]
    return session.function([definition.inputs["x"]], [definition.outputs["y"].name])


@pytest.mark.parametrize("kind", TYPES[:-1], ids=lambda kind: kind.name)
def test_numbers_and_flags(session, kind):
    call, dtype = function(session, f"of_{kind.name}"), kind.as_numpy_dtype
    for array in (
        np.array([[0, 1, 1], [1, 0, 100]]),
        np.zeros([0, 3]),
        np.array(1),
        np.arange(12).reshape(3, 4).T,
    ):
        (came,) = call(array.astype(dtype))
        assert came.dtype == dtype and came.shape == array.shape
        np.testing.assert_array_equal(came, array.astype(dtype))


def test_texts(session):
    call = function(session, "of_string")
    # TensorFlow keeps up to 22 bytes in place and the rest elsewhere.
    texts = [b"", b"a", b"\0", b"a\0b", "é".encode(), b"\xff", b"x" * 22, b"x" * 23, b"y" * 100_000]
    array = np.empty([3, 3], object)
    array.ravel()[:] = texts
    (came,) = call(array)
    assert came.dtype == object and came.shape == (3, 3) and came.ravel().tolist() == texts
    assert call(np.empty([2, 0], object))[0].shape == (2, 0)


@pytest.mark.parametrize("value", [None, "text", 3, [b"a"]], ids=str)
def test_values_that_are_no_texts(session, value):
    array = np.empty([2], object)
    array[:] = [b"a", None]
    array[1] = value
    with pytest.raises((TypeError, ctypes.ArgumentError)):
        function(session, "of_string")(array)


def test_an_output_that_cannot_be_sent(session):
    with pytest.raises(StatusError, match="an output has the type DT_HALF, which cannot be sent"):
        function(session, "of_half")(np.zeros([1], np.float32))


def test_a_tensor_that_the_graph_has_not(session):
    with pytest.raises(StatusError, match="The graph has no operation nothing"):
        session.function([], ["nothing:0"])


def test_a_wrong_type_keeps_tensorflows_code(session):
    call = function(session, "of_float32")
    session_call = session.function(
        [session.definitions["of_int32"].inputs["x"]],
        [session.definitions["of_float32"].outputs["y"].name],
    )
    with pytest.raises(StatusError) as raised:
        session_call(np.zeros([1], np.int32))
    assert raised.value.code.name == "INVALID_ARGUMENT"
    assert call(np.ones([1], np.float32))[0] == 1


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(StatusError) as raised:
        SavedSession(tmp_path / "é", tf.compat.v1.ConfigProto())
    assert raised.value.code.name == "NOT_FOUND"


def test_memory_is_given_back(session):
    call, array = function(session, "of_string"), np.full([64], b"x" * 100_000, object)
    for _ in range(10):
        call(array)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        call(array)
    # A call takes some 20 MB in all, so that 100 of them left behind would be 2 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_tensorflow_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setattr(tf.sysconfig, "get_lib", lambda: str(tmp_path))
    with pytest.raises(StatusError) as raised:
        saved_session._api.__wrapped__()
    assert (
        raised.value.message
        == f"{tmp_path} must hold libtensorflow_cc, but does not; install TensorFlow for Linux or macOS again."
    )
