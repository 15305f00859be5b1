"""The benchmark of GPUs, on logical CPUs; its figures of a GPU from a profile made by hand."""

import json

import pytest
import tensorflow as tf

from benchmarks import gpu

# Otherwise the benchmark would choose the number of logical CPUs of this process.
CPUS = [one.name[-5:] for one in tf.config.list_logical_devices("CPU")]


def test_the_whole_table_on_two_logical_cpus(tmp_path, capsys):
    file = tmp_path / "figures.json"
    sizes = ["--batch-size", "9", "--users", "12", "--items", "30", "--steps", "2"]
    devices = ["--devices", "CPU:0", "CPU:1"]
    code = gpu.main(["--models", "bpr_mf", "--exported", *sizes, *devices, "--json", str(file)])
    assert code == 0
    figures = json.loads(file.read_text())
    assert figures["devices"] == ["CPU:0", "CPU:1"]
    measured = figures["models"]["bpr_mf"]
    assert list(measured["examples"]) == ["1 x", "2 x", "bfloat16", "float16"]
    assert all(rate > 0 for rate in measured["examples"].values())
    assert measured["weights"] < 1e-4
    assert 0 <= measured["input"] < 1
    assert measured["ranked"] > 0
    # Only a GPU has these.
    assert measured["idle"] is measured["memory"] is None
    assert "bpr_mf" in capsys.readouterr().out


def test_the_latency_of_an_export():
    found = gpu.latencies(tf, "bpr_mf", gpu.random_split(12, 30), "CPU:1", requests=3)
    assert list(found) == ["CPU:1", "CPU:0"]
    assert all(ms > 0 for one in found.values() for ms in one)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--devices", "CPU:0", "GPU:7"],
            f"runtime.devices names GPU:7, but there is only {', '.join(CPUS)}.",
        ),
        (
            ["--devices", "CPU:0", "CPU:1", "--batch-size", "1"],
            "--batch-size must be at least the number of devices, 2, but is 1.",
        ),
        (
            ["--devices", "CPU:0", "cpu"],
            "runtime.devices must be names such as GPU:0 or CPU:1, but has 'cpu'.",
        ),
        (
            ["--devices", "CPU:0", "CPU:0"],
            "runtime.devices must be one or more different devices, but is ['CPU:0', 'CPU:0'].",
        ),
        (["--steps", "0"], "--steps must be 1 or greater, but is 0."),
        (
            [],
            "This benchmark needs a GPU that TensorFlow can use, but there is none; install the "
            "extra gpu, or name other devices by --devices.",
        ),
    ],
)
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_refusals_are_one_sentence(arguments, sentence, capsys):
    assert gpu.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_the_idle_share_of_a_profile(tmp_path):
    xplane = pytest.importorskip("tensorflow.tsl.profiler.protobuf.xplane_pb2")
    space = xplane.XSpace()
    plane = space.planes.add(name="/device:GPU:0")
    # Busy from 0 to 5 and from 8 to 10, on two streams; a line of steps is no stream.
    for name, spans in {
        "Stream #1(Compute)": [(0, 4), (8, 2)],
        "Stream #2(MemcpyH2D)": [(3, 2)],
        "Steps": [(0, 10)],
    }.items():
        line = plane.lines.add(name=name, timestamp_ns=7)
        for offset, duration in spans:
            line.events.add(offset_ps=offset, duration_ps=duration)
    (tmp_path / "one.xplane.pb").write_bytes(space.SerializeToString())
    assert gpu.idle_share(tmp_path, "GPU:0") == pytest.approx(0.3)
    assert gpu.idle_share(tmp_path, "GPU:1") is None


def test_figures_need_a_folder(tmp_path, capsys):
    file = tmp_path / "missing" / "figures.json"
    with pytest.raises(SystemExit):
        gpu.main(["--json", str(file)])
    assert capsys.readouterr().err.endswith(
        f"argument --json: must be a file in a folder that exists, but is {file}; "
        "name another file.\n"
    )
