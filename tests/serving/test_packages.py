"""Commands name a package that is missing or does not load, and end with 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.cli.packages import importing
from tfrec_attn.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
TARGET = ["--target", "127.0.0.1:1", "--model", "m"]
# In a new process, where nothing is imported yet.
CODE = """
import importlib, sys
sys.modules[sys.argv[2]] = None
sys.exit(importlib.import_module(sys.argv[1]).main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("command", "package", "arguments"),
    [
        ("client", "grpc", ["embed", *TARGET]),
        ("load_test", "grpc", [*TARGET, "--items", "items.txt"]),
        ("local_server", "grpc_health", ["--model", "m=."]),
        ("local_server", "uvicorn", ["--model", "m=."]),
        ("promote", "grpc", [*TARGET, "--run", ".", "--config", "c", "--limits", "l"]),
        ("rollback", "grpc", [*TARGET, "--config", "c"]),
        ("verify", "grpc", [*TARGET, "--run", "."]),
    ],
)
def test_a_package_that_is_missing(command, package, arguments, tmp_path):
    (tmp_path / "items.txt").write_text("a\nb\n")
    call = [sys.executable, "-c", CODE, f"serving.{command}", package, *arguments]
    ended = subprocess.run(
        call,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2 and not ended.stdout
    assert (
        ended.stderr == f"error: The package {package} is not installed; "
        "get it with pip install 'tfrec-attn[serving]'.\n"
    )


def test_stubs_that_do_not_load():
    with pytest.raises(ConfigError) as raised, importing():
        raise AttributeError("'FieldDescriptor' object has no attribute 'label'\nand more")
    assert str(raised.value) == (
        "The stubs of tensorflow-serving-api do not load "
        "(AttributeError: 'FieldDescriptor' object has no attribute 'label'); install a "
        "tensorflow-serving-api, protobuf and grpcio that go together, "
        "such as those in requirements/tensorflow-2.21.txt."
    )


def test_imports_that_succeed_are_quiet(capfd):
    with importing():
        os.write(2, b"a note of C++")
    assert capfd.readouterr() == ("", "")


def test_the_stubs_alone_load_no_tensorflow():
    """The client is complete, and TensorFlow can be imported after it."""
    code = """
import sys
from serving.cli.packages import importing
with importing(stubs_alone=True):
    from serving.clients.grpc_client import predict_request
    from serving.checks import labels
    from serving.clients.requests import recommend
assert "tensorflow" not in sys.modules and "tensorflow.python" not in sys.modules
print(len(predict_request(recommend(["a"], "u", 3, (), (), 200), "m").inputs))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ("5\n", "")
