"""Tests that stock TensorFlow serves an export: its operations, and its C API without Python."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.models.contract import EXPORTED
from tfrec_attn.runtime.runner import Runner

# Models whose graphs have operations that others do not have.
WITH_OWN_OPERATIONS = ["bert4rec", "caser", "fmlp_rec", "gru4rec"]

# Runs in a process that imports nothing but TensorFlow, so that only its own operations are
# registered.
LIST_OPERATIONS = """
import ctypes, json, sys
import tensorflow as tf

# The library is loaded already, so that this is its registry.
library = ctypes.CDLL(f"{sys.argv[1]}/libtensorflow_cc.so.2")
for name in ("NewStatus", "GetAllOpList", "GetRegisteredKernelsForOp"):
    getattr(library, f"TF_{name}").restype = ctypes.c_void_p

class Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t))

def content(buffer):
    buffer = Buffer.from_address(buffer)
    return ctypes.string_at(buffer.data, buffer.length)

registry = type(tf.compat.v1.MetaGraphDef().meta_info_def.stripped_op_list)()
registry.ParseFromString(content(library.TF_GetAllOpList()))
known, status = {op.name for op in registry.op}, ctypes.c_void_p(library.TF_NewStatus())

def on_cpu(op):
    # KernelDef.device_type, its second field, is CPU, or DEFAULT for every device.
    kernels = content(library.TF_GetRegisteredKernelsForOp(op.encode(), status))
    return b"\\x12\\x03CPU" in kernels or b"\\x12\\x07DEFAULT" in kernels

result = {}
for folder in sys.argv[2:]:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    functions = meta.graph_def.library.function
    nodes = [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]
    ops = {node.op for node in nodes} - {function.signature.name for function in functions}
    attributes = {
        name
        for one in [*nodes, *functions]
        for name, value in one.attr.items()
        if value.b or name != "_XlaMustCompile"
    }
    compiled = {name for name in attributes if "Xla" in name}
    placed = {node.device for node in nodes if "CPU" not in node.device.upper()}
    result[folder] = {
        "ops": sorted(ops),
        "unknown": sorted(ops - known),
        "not on a CPU": sorted(op for op in ops & known if not on_cpu(op)),
        "placed": sorted(placed - {""}),
        "compiled": sorted(compiled | {op for op in ops if op.startswith("Xla")}),
        "python": sorted(op for op in ops if "PyFunc" in op),
    }
ours = ("tfrec_attn", "export", "tensorflow_recommenders")
assert not [name for name in sys.modules if name.startswith(ours)]
sys.stdout.write(json.dumps(result))
"""


def installed_libraries():
    """Folder of the C libraries in the installed wheel, found without importing it."""
    return importlib.util.find_spec("tensorflow").submodule_search_locations[0]


def process(*arguments, **options):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "TF_USE_LEGACY_KERAS")
    }
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    arguments = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=300, env=environment, cwd="/", **options
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def runners(served, exported):
    """Name of a model -> runner of an untrained one, and "ivf" -> runner of one with an index."""
    _, folder, _ = exported(
        "sasrec", "--index", "ivf", "--cells", "6", "--nprobe", "2", "--int8", "--diverse"
    )
    with Runner(folder) as runner:
        names = [*EXPORTED, *WITH_OWN_OPERATIONS]
        yield {**{name: served(name)[2] for name in names}, "ivf": runner}


@pytest.fixture(scope="module")
def suspicious(tmp_path_factory):
    """A SavedModel with operations that an export must not have."""
    folder = tmp_path_factory.mktemp("suspicious")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def python(x):
        return tf.numpy_function(np.sin, [x], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)], jit_compile=True)
    def compiled(x):
        return x + 1.0

    module = tf.Module()
    module.compiled = compiled
    call = tf.function(
        lambda x: {"y": compiled(x)}, input_signature=[tf.TensorSpec([None], tf.float32)]
    )
    tf.saved_model.save(module, str(folder), signatures={"python": python, "compiled": call})
    return folder


@pytest.fixture(scope="module")
def operations(runners, suspicious):
    return process(
        "-c",
        LIST_OPERATIONS,
        installed_libraries(),
        suspicious,
        *(runner.path for runner in runners.values()),
    )


def test_every_operation_is_tensorflows_own_and_runs_on_a_cpu(runners, operations):
    for name, runner in runners.items():
        found = operations[str(runner.path)]
        assert {"LookupTableFindV2", "TopKV2", "MatMul"} <= set(found.pop("ops")), name
        assert found == {
            "unknown": [],
            "not on a CPU": [],
            "placed": [],
            "compiled": [],
            "python": [],
        }, name


def test_forbidden_operations_are_found(suspicious, operations):
    found = operations[str(suspicious)]
    assert found["python"] == ["PyFunc"]
    assert "_XlaMustCompile" in found["compiled"]


def lines(path):
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else ["nobody"] * 9


def requests_of(runner):
    """A request for each signature, with short, empty and long histories and awkward ids."""
    items, users = (lines(runner.path / "assets" / f"{kind}.txt") for kind in ("items", "users"))
    histories = [
        ["", "", "", "", "", *items[:2]],
        [""] * 7,
        ["", items[7], "unknown", items[3], items[7], items[8], items[9]],
    ]
    values = {
        "user_id": [users[0], "nobody", users[3]],
        "history": histories,
        "exclude": [[""], [items[11]], [items[5]]],
        "allow": [["", ""], ["", ""], [items[2], items[4]]],
        "candidates": [[items[7], "unknown"], [items[0], ""], [items[8], items[8]]],
        "item": [items[9], "unknown", items[8]],
        "k": [3, 5, 4],
        "by": ["cosine", "score", ""],
        "allow_category": [[""], [""], ["none"]],
        "per_category": [0, 1, 2],
        "popularity_penalty": [0.1, 0.0, 0.0],
        "diversity": [0.5, 0.0, 0.1],
    }

    def value(name, tensor):
        is_list = name in ("history", "exclude", "allow", "candidates", "allow_category")
        return (
            ["\t".join(row) for row in values[name]]
            if is_list and len(tensor.shape) == 1
            else values[name]
        )

    return {
        signature: {name: value(name, tensor) for name, tensor in inputs.items()}
        for signature, (inputs, _) in runner.signatures.items()
    }


def as_json(array):
    return {
        "dtype": str(array.dtype).replace("object", "string"),
        "shape": list(array.shape),
        "values": array.ravel().tolist(),
    }


@pytest.fixture(scope="module")
def asked(runners):
    """(folder -> requests for the C API, folder -> responses of the runner)."""
    requests, answers = {}, {}
    for name in ("attrec", "decayed_transitions", "gru4rec", "ivf"):
        runner = runners[name]
        folder = str(runner.path)
        requests[folder], answers[folder] = [], []
        for signature, values in requests_of(runner).items():
            inputs, definition = runner.signatures[signature][0], runner._definitions[signature]
            arrays = {
                definition.inputs[one].name: np.asarray(value, inputs[one].dtype.as_numpy_dtype)
                for one, value in values.items()
            }
            tensors = {one: as_json(array) for one, array in arrays.items()}
            requests[folder].append(
                {
                    "inputs": tensors,
                    "outputs": [one.name for _, one in sorted(definition.outputs.items())],
                }
            )
            answers[folder].append(runner.run(signature, **values))
    return requests, answers


def assert_same_answers(libraries, asked, version):
    found = process(Path(__file__).with_name("c_api.py"), libraries, input=json.dumps(asked[0]))
    assert found["version"].startswith(version)
    for folder, answers in asked[1].items():
        for expected, arrays in zip(answers, found["answers"][folder], strict=True):
            for (name, values), array in zip(expected.items(), arrays, strict=True):
                assert array["shape"] == list(values.shape), name
                if array["dtype"] == "string":
                    assert array["values"] == [one.decode() for one in values.ravel()], name
                else:
                    assert array["dtype"] == str(values.dtype), name
                    np.testing.assert_allclose(
                        array["values"], values.ravel(), rtol=1e-5, atol=1e-6
                    )


def test_the_installed_c_library_gives_the_same_answers(asked):
    assert_same_answers(installed_libraries(), asked, tf.__version__)


def test_another_c_library_gives_the_same_answers(asked):
    libraries = os.environ.get("TFREC_LIBTENSORFLOW")
    if not libraries:
        pytest.skip(
            "TFREC_LIBTENSORFLOW names no folder with TensorFlow's C libraries: "
            "make libtensorflow-2.20 fetches them"
        )
    found = re.search(r"\d+\.\d+", Path(libraries).name)
    assert_same_answers(Path(libraries).resolve(), asked, found[0] if found else "2.")
