"""Reads and moves the labels of a served model, on the server and in its configuration file."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from tfrec_attn.errors import ConfigError

from ..clients.grpc_client import open_channel, rpc_error
from ..clients.responses import ClientError, client_error
from ..protocol.statuses import from_number
from .model_config_file import ModelConfigFile

_TIMEOUT = 30.0
_PAUSE = 0.2
_ModelService = model_service_pb2_grpc.ModelServiceStub
_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


class LabelledModel:
    """A served model and its labels.

    Args:
        target: HOST:PORT of the gRPC server.
        model: Name of the model.
        path: Configuration file of the server, a ModelServerConfig as text.

    Attributes:
        file: The `ModelConfigFile`.

    Raises:
        ConfigError: If the file cannot be read or written, or does not have the model exactly once.
        ClientError: In the methods, if a call to the server fails.
    """

    def __init__(self, target: str, model: str, path: str | Path):
        self._target, self._model = target, model
        self._reload_seconds = _TIMEOUT
        self.file = ModelConfigFile(path, model)
        with self.file.held():
            pass

    def version(self, label: str) -> int:
        """Returns the version of a label.

        Raises:
            ConfigError: If the server and the file have different versions.
        """
        served, written = self._served(label), self.file.labels.get(label)
        if served != written:
            raise ConfigError(
                f"{label} is version {served} on {self._target}, "
                f"but {written or 'no version'} in {self.file.path}; make them agree first."
            )
        return served

    def move(
        self, labels: Mapping[str, int], *, seconds: float = _TIMEOUT, unload: bool = False
    ) -> None:
        """Moves labels to other versions, on the server and in the file, or changes neither.

        If the file lists the served versions, the versions of the labels are added to the list.

        Args:
            labels: Version of each label.
            seconds: Time for the server to load the versions (default: 30).
            unload: Whether to remove versions without a label from that list (default: False).

        Raises:
            ConfigError: If another program changes the file, or it cannot be written.
            ClientError: If the server does not serve the versions in time, or a call to it fails.
        """
        after = set({**self.file.labels, **labels}.values())
        named = set(self.file.specific)
        # A server may load the versions before it responds.
        self._reload_seconds = max(_TIMEOUT, seconds)
        with self.file.held(), self._undone():
            if named and not after <= named:
                self._apply(self.file.changed({}, named | after))
            self._wait(set(labels.values()), seconds)
            versions = (after if unload else named | after) if named else None
            self._apply(self.file.changed(labels, versions))
            for label, version in labels.items():
                if self._served(label) != version:
                    raise ClientError(
                        "INTERNAL",
                        f"{self._target} agreed to move {label} to version {version}, but did not.",
                    )

    @contextlib.contextmanager
    def _undone(self) -> Iterator[None]:
        """Restores the server and the file if the block fails."""
        before = self.file.state
        try:
            yield
        except BaseException:
            with contextlib.suppress(ClientError, ConfigError):
                self._reload(self.file.restore(before))
            raise

    def _apply(self, config):
        # The file follows at once, because a server that polls it would undo the change.
        self._reload(config)
        self.file.write(config)

    def _served(self, label):
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name, request.model_spec.version_label = self._model, label
        stub = prediction_service_pb2_grpc.PredictionServiceStub
        response = self._ask(stub, "GetModelMetadata", request)
        return response.model_spec.version.value

    def _reload(self, config):
        request = model_management_pb2.ReloadConfigRequest(config=config)
        response = self._ask(
            _ModelService, "HandleReloadConfigRequest", request, self._reload_seconds
        )
        if response.status.error_code:
            status = from_number(response.status.error_code).name
            raise client_error(status, response.status.error_message, self._target, _TIMEOUT)

    def _wait(self, versions, seconds):
        """Waits until the server serves all versions."""
        deadline = time.monotonic() + seconds
        while True:
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = self._model
            response = self._ask(_ModelService, "GetModelStatus", request)
            found = {one.version: one for one in response.model_version_status}
            missing = [
                one for one in versions if one not in found or found[one].state != _AVAILABLE
            ]
            if not missing:
                return
            failed = [one for one in missing if one in found and found[one].status.error_code]
            if failed or time.monotonic() > deadline:
                number = (failed or missing)[0]
                reason = found[number].status.error_message if failed else "it is not there in time"
                raise ClientError(
                    "FAILED_PRECONDITION",
                    f"{self._target} does not serve version {number} of {self._model} "
                    f"({reason.rstrip('. ')}); look at the folder of the version and at the "
                    "policy of the server.",
                )
            time.sleep(_PAUSE)

    def _ask(self, stub, method, request, seconds=_TIMEOUT):
        with open_channel(self._target) as channel:
            try:
                return getattr(stub(channel), method)(request, timeout=seconds)
            except grpc.RpcError as error:
                raise rpc_error(error, self._target, seconds) from None
