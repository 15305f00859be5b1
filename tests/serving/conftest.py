"""Fixtures of the tests of serving: a trained run, its servable, and a server on free ports."""

import contextlib
import io
import subprocess

import pytest

from tfrec_attn import config as configuration
from tfrec_attn import train

NAME = "sasrec"


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The directory of a SASRec run on a generated log: about 80 items, max_length 10.

    Item i has the category of i % 3, and no title.
    """
    folder = tmp_path_factory.mktemp("runs")
    about = [f"i{item},{'red' if item == 50 else ''},{'ABC'[item % 3]}" for item in range(1, 200)]
    (folder / "items.csv").write_text("\n".join(["id,colour,category", *about]) + "\n")
    config = configuration.from_dict(
        {
            "data": {
                "source": "synthetic",
                "events": 1500,
                "max_length": 10,
                "targets": 2,
                "items": str(folder / "items.csv"),
            },
            "model": {"name": "sasrec", "dim": 8, "dropout": 0.0},
            "train": {"epochs": 1, "batch_size": 32, "loss": "softmax"},
            "evaluate": {"bootstrap": 20},
            "runtime": {"steps_per_execution": 1},
            "run_dir": str(folder / NAME),
        }
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return train.train(config)


@pytest.fixture(scope="session")
def servable(run, tmp_path_factory):
    """The folder of that model, named `sasrec`, with version 1. Tests must not write into it."""
    from export.command import export

    folder = tmp_path_factory.mktemp("servables") / NAME
    with contextlib.redirect_stdout(io.StringIO()):
        export(run, folder, k=5, max_k=20)
    return folder


@pytest.fixture(scope="session")
def server(servable):
    """A running `LocalServer` of that folder, on `.grpc_port` and `.rest_port` of 127.0.0.1.

    It serves the model `sasrec`, whose label `stable` is version 1.
    """
    from serving.local_server import LocalServer
    from serving.server.model_config import ModelConfig
    from serving.server.model_store import ModelStore

    store = ModelStore([ModelConfig(NAME, servable, labels={"stable": 1})], poll=0.1)
    local = LocalServer(store, port=0, rest_port=0)
    local.start()
    yield local
    local.stop(grace=5)


@pytest.fixture(scope="session")
def write_toy():
    """A function that writes a version of a small model: `write_toy(folder, version)`.

    Its signatures are

    - serving_default: text [B, W] -> joined [B], the row with commas, and version [B];
    - strict: number int32 [B] -> double [B], an INVALID_ARGUMENT for the number 13;
    - scalar: x float32 [] -> y [].
    """
    import tensorflow as tf

    def write(folder, version):
        module = tf.Module()

        def joined(text):
            rows = tf.strings.reduce_join(text, axis=1, separator=",")
            return {"joined": rows, "version": tf.fill([tf.shape(text)[0]], version)}

        def strict(number):
            with tf.control_dependencies(
                [tf.debugging.assert_none_equal(number, 13, message="13 is unlucky")]
            ):
                return {"double": 2 * number}

        specs = {
            "serving_default": (joined, tf.TensorSpec([None, None], tf.string, name="text")),
            "strict": (strict, tf.TensorSpec([None], tf.int32, name="number")),
            "scalar": (lambda x: {"y": x + 1}, tf.TensorSpec([], tf.float32, name="x")),
        }
        signatures = {
            name: tf.function(function).get_concrete_function(spec)
            for name, (function, spec) in specs.items()
        }
        # Under another name first, so that a watching store never sees a part of it.
        partial = folder / f"{version}.partial"
        tf.saved_model.save(module, str(partial), signatures=signatures)
        return partial.rename(folder / str(version))

    return write


@pytest.fixture(scope="session")
def toy(write_toy, tmp_path_factory):
    """A folder with version 1 of that model. Tests must not write into it."""
    folder = tmp_path_factory.mktemp("toys") / "toy"
    write_toy(folder, 1)
    return folder


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Files (certificate, key) in PEM for a server on 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
        "-nodes -days 2 -subj /CN=localhost"
    )
    try:
        subprocess.run(
            [
                *command.split(),
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                folder / "key.pem",
                "-out",
                folder / "roots.pem",
            ],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate: {error}")
    return folder / "roots.pem", folder / "key.pem"
