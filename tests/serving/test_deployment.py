"""The configuration files of TF Serving, read as it reads them, and compared with each other."""

import json
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.checks.canary import read_limits
from serving.server.rest_service import METRICS_PATH

FOLDER = Path(__file__).resolve().parents[2] / "serving" / "deploy"
# Options of tensorflow_model_server 2.20 that a deployment can use.
FLAGS = {
    "port", "rest_api_port", "rest_api_num_threads", "rest_api_timeout_in_ms", "model_config_file",
    "model_config_file_poll_wait_seconds",
    "allow_version_labels_for_unavailable_models", "enable_batching", "batching_parameters_file",
    "monitoring_config_file",
    "file_system_poll_wait_seconds", "num_load_threads", "grpc_channel_arguments",
    "ssl_config_file",
}  # fmt: skip
_TYPES = descriptor_pb2.FieldDescriptorProto


def protos():
    """Messages that tensorflow-serving-api does not contain.

    Numbers and names are those of session_bundle_config.proto and monitoring_config.proto.
    """
    wrapper, one, many = ".google.protobuf.", _TYPES.LABEL_OPTIONAL, _TYPES.LABEL_REPEATED
    number, text, message, flag = (
        _TYPES.TYPE_INT64,
        _TYPES.TYPE_STRING,
        _TYPES.TYPE_MESSAGE,
        _TYPES.TYPE_BOOL,
    )
    messages = {
        "BatchingParameters": [
            ("max_batch_size", 1, one, message, wrapper + "Int64Value"),
            ("batch_timeout_micros", 2, one, message, wrapper + "Int64Value"),
            ("max_enqueued_batches", 3, one, message, wrapper + "Int64Value"),
            ("num_batch_threads", 4, one, message, wrapper + "Int64Value"),
            ("thread_pool_name", 5, one, message, wrapper + "StringValue"),
            ("allowed_batch_sizes", 6, many, number, None),
            ("pad_variable_length_inputs", 7, one, flag, None),
        ],
        "PrometheusConfig": [("enable", 1, one, flag, None), ("path", 2, one, text, None)],
        "MonitoringConfig": [("prometheus_config", 1, one, message, ".checked.PrometheusConfig")],
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="checked.proto",
        package="checked",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in messages.items():
        made = file.message_type.add(name=name)
        for field, place, label, kind, type_name in fields:
            made.field.add(name=field, number=place, label=label, type=kind, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"checked.{name}"))
        for name in messages
    }


@pytest.fixture(scope="module")
def batching():
    return text_format.Parse(
        (FOLDER / "batching.config").read_text(), protos()["BatchingParameters"]()
    )


@pytest.fixture(scope="module")
def model():
    config = text_format.Parse(
        (FOLDER / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    return model


@pytest.fixture(scope="module")
def container():
    (container,) = yaml.safe_load((FOLDER / "docker-compose.yml").read_text())["services"].values()
    return container


@pytest.fixture(scope="module")
def kinds():
    return {
        one["kind"]: one for one in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    }


@pytest.fixture(scope="module")
def pod(kinds):
    return kinds["Deployment"]["spec"]["template"]["spec"]


def flags(arguments):
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_the_descriptors_refuse_what_tf_serving_refuses():
    for text in ("max_batch_size: 32", "batch_size { value: 32 }", "max_batch_size { value: 3.5 }"):
        with pytest.raises(text_format.ParseError):
            text_format.Parse(text, protos()["BatchingParameters"]())


def test_models(model):
    assert model.base_path == f"/models/{model.name}" and model.model_platform == "tensorflow"
    assert set(model.version_labels) == {"stable", "canary", "previous"}
    # A label can only name a served version.
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)


def test_batching(batching, container, pod):
    assert batching.max_batch_size.value == 32 and batching.HasField("batch_timeout_micros")
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) and (not sizes or sizes[-1] == batching.max_batch_size.value)
    # Padding would change a shorter history of a batch.
    assert not batching.pad_variable_length_inputs
    assert (
        batching.num_batch_threads.value
        == container["cpus"]
        == int(pod["containers"][0]["resources"]["limits"]["cpu"])
    )


def test_monitoring(kinds):
    config = text_format.Parse(
        (FOLDER / "monitoring.config").read_text(), protos()["MonitoringConfig"]()
    )
    assert config.prometheus_config.enable and config.prometheus_config.path == METRICS_PATH
    annotations = kinds["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == METRICS_PATH


def test_flags_of_both_are_the_same_and_known(container, pod):
    given = flags(container["command"])
    assert given == flags(pod["containers"][0]["args"]) and given.keys() <= FLAGS
    assert container["image"] == pod["containers"][0]["image"] == "tensorflow/serving:2.20.0"
    assert (
        container["entrypoint"]
        == pod["containers"][0]["command"]
        == ["/usr/bin/tensorflow_model_server"]
    )
    # A batching file alone is an error. Labels of versions that still load need the other option.
    assert (
        given["enable_batching"] == given["allow_version_labels_for_unavailable_models"] == "true"
    )
    for name in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        assert (FOLDER / Path(given[name]).name).is_file() and given[name].startswith("/config/")


def test_ports(container, pod, kinds):
    given = flags(container["command"])
    grpc, rest = int(given["port"]), int(given["rest_api_port"])
    assert container["ports"] == [f"127.0.0.1:{port}:{port}" for port in (grpc, rest)]
    ports = {one["name"]: one["containerPort"] for one in pod["containers"][0]["ports"]}
    assert ports == {"grpc": grpc, "http": rest}
    assert {one["name"]: one["port"] for one in kinds["Service"]["spec"]["ports"]} == ports
    assert all(one["targetPort"] == one["name"] for one in kinds["Service"]["spec"]["ports"])
    assert kinds["Deployment"]["spec"]["template"]["metadata"]["annotations"][
        "prometheus.io/port"
    ] == str(rest)


def test_mounts_are_where_the_configuration_looks_and_read_only(container, pod, model):
    mounts = [one.rsplit(":", 2) for one in container["volumes"]]
    assert (
        mounts == [["../../servables", "/models", "ro"], [".", "/config", "ro"]]
        and container["read_only"] is True
    )
    assert (FOLDER / mounts[0][0]).resolve() == FOLDER.parents[1] / "servables"
    volumes = {one["mountPath"]: one for one in pod["containers"][0]["volumeMounts"]}
    assert volumes["/models"]["readOnly"] and volumes["/config"]["readOnly"]
    assert {one["name"] for one in volumes.values()} == {one["name"] for one in pod["volumes"]}
    assert str(Path(model.base_path).parent) in volumes


def test_probes_ask_for_the_model_and_its_label(container, pod, model):
    path = f"/v1/models/{model.name}/labels/stable/metadata"
    one = pod["containers"][0]
    assert (
        one["startupProbe"]["httpGet"]
        == one["readinessProbe"]["httpGet"]
        == {"path": path, "port": "http"}
    )
    assert one["livenessProbe"]["tcpSocket"] == {"port": "grpc"}
    assert (
        f"GET {path} HTTP/1.0" in container["healthcheck"]["test"][-1]
        and "stable" in model.version_labels
    )
    seconds = one["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert int(seconds) < pod["terminationGracePeriodSeconds"]


def test_the_probe_of_the_container_on_a_server(server, container):
    """The shell line itself, with the port of the local server."""
    line = container["healthcheck"]["test"][-1]
    codes = [
        subprocess.run(
            ["bash", "-c", line.replace("/8501", f"/{server.rest_port}").replace("stable", label)],
            timeout=20,
            check=False,
        ).returncode
        for label in ("stable", "nothing")
    ]
    assert codes[0] == 0 and codes[1] != 0


def test_pods_are_selected_and_confined(kinds, pod):
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        kinds["Service"]["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    limits = pod["containers"][0]["resources"]
    assert limits["limits"].keys() == limits["requests"].keys() == {"cpu", "memory"}
    assert (
        pod["securityContext"]["runAsNonRoot"]
        and not pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"]
    )


def test_limits():
    assert read_limits(FOLDER / "limits.yaml").k == 10


def test_the_files_are_installed():
    serving, setup = FOLDER.parent, ConfigParser()
    setup.read(serving.parent / "setup.cfg")
    patterns = setup["options.package_data"]["*"].split()
    found = {
        path.relative_to(serving).as_posix()
        for package in (serving, serving / "server")
        for pattern in patterns
        for path in package.glob(pattern)
    }
    page = {f"server/page/{path.name}" for path in (serving / "server" / "page").iterdir()}
    assert len(page) > 5 and found == page | {
        "deploy/docker-compose.yml",
        "deploy/models.config",
        "deploy/batching.config",
        "deploy/monitoring.config",
        "deploy/kubernetes.yaml",
        "deploy/limits.yaml",
        "server/openapi.json",
    }


def test_docker_compose_reads_its_file(container):
    if (
        shutil.which("docker") is None
        or subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("there is no docker compose")
    result = subprocess.run(
        [
            "docker",
            "compose",
            "-f",
            str(FOLDER / "docker-compose.yml"),
            "config",
            "--format",
            "json",
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert json.loads(result.stdout)["services"]["serving"]["command"] == container["command"]
