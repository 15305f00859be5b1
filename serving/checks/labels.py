"""The labels of a served model, on its server and in the configuration file of the server."""

import contextlib
import os
import re
from pathlib import Path

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tfrec_attn.errors import ConfigError, first_line
from tfrec_attn.files.writing import replace_text

from ..clients.grpc_client import open_channel
from ..clients.responses import ClientError, client_error
from ..protocol.statuses import from_number

_TIMEOUT = 30.0


class LabelledModel:
    """A model of a server with its labels.

    Args:
        target: HOST:PORT.
        model: Name of the model.
        path: The ModelServerConfig of the server, as text. When a label moves, its number in the
            text is replaced. If that is not possible, the file is written anew, and only the
            comments at its top are kept.

    Raises:
        ConfigError: If the file cannot be read or written, or does not have the model once.
        ClientError: In the methods, if the server does not answer.
    """

    def __init__(self, target: str, model: str, path: str | Path):
        self._target, self._model, self._path = target, model, Path(path)
        self._config, self._text = _read(self._path)
        named = [one for one in self._config.model_config_list.config if one.name == model]
        if len(named) != 1:
            known = ", ".join(one.name for one in self._config.model_config_list.config) or "none"
            raise ConfigError(
                f"{path} must have the model {model} once, but has {known}; "
                "give the file that the server was started with."
            )
        if not (os.access(self._path, os.W_OK) and os.access(self._path.resolve().parent, os.W_OK)):
            raise ConfigError(
                f"{path} cannot be written, "
                "so that a server would forget a moved label when it starts again."
            )
        self._labels = named[0].version_labels

    def version(self, label: str) -> int:
        """Returns the version of a label, on which server and file must agree.

        Raises:
            ConfigError: If they do not.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name, request.model_spec.version_label = self._model, label
        response = self._ask(
            lambda channel: (
                prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata
            ),
            request,
        )
        served, written = response.model_spec.version.value, self._labels.get(label)
        if served != written:
            raise ConfigError(
                f"{label} is version {served} on {self._target}, "
                f"but {written or 'no version'} in {self._path}; make them agree first."
            )
        return served

    def move(self, label: str, version: int) -> None:
        """Moves a label to another version, on the server and then in the file."""
        self._labels[label] = version
        request = model_management_pb2.ReloadConfigRequest(config=self._config)
        response = self._ask(
            lambda channel: (
                model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
            ),
            request,
        )
        if response.status.error_code:
            raise client_error(
                from_number(response.status.error_code).name,
                response.status.error_message,
                self._target,
                _TIMEOUT,
            )
        anew = _comments(self._text) + text_format.MessageToString(self._config, as_utf8=True)
        try:
            # A server that watches the file never sees a part.
            replace_text(self._path, _moved(self._text, self._config, self._model, label) or anew)
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be written "
                f"({error.strerror}), but {self._target} has moved {label} to version {version}; "
                "write it there."
            ) from None
        if self.version(label) != version:
            raise ClientError(
                "INTERNAL",
                f"{self._target} agreed to move {label} to version {version}, but did not.",
            )

    def _ask(self, method, request):
        with open_channel(self._target) as channel:
            try:
                return method(channel)(request, timeout=_TIMEOUT)
            except grpc.RpcError as error:
                raise client_error(
                    error.code().name, error.details() or "", self._target, _TIMEOUT
                ) from None


def _read(path):
    """(configuration, its text)."""
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text = path.read_text(encoding="utf-8")
        text_format.Parse(text, config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ConfigError(
            f"{path} cannot be read as a ModelServerConfig "
            f"({first_line(error)}); give the server's."
        ) from None
    return config, text


def _comments(text):
    """The comment lines at the top."""
    lines = text.splitlines(keepends=True)
    count = next(
        (place for place, line in enumerate(lines) if line.strip() and not line.startswith("#")),
        len(lines),
    )
    return "".join(lines[:count])


def _moved(text, config, model, label):
    """The text of a configuration with only the version of a label changed, or None."""
    version = next(
        one for one in config.model_config_list.config if one.name == model
    ).version_labels[label]
    for found in re.finditer(r'\b(key\s*:\s*["\']([^"\'\n]*)["\']\s*,?\s*value\s*:\s*)(\d+)', text):
        if found[2] == label:
            changed = f"{text[: found.start(3)]}{version}{text[found.end(3) :]}"
            with contextlib.suppress(text_format.ParseError):
                if (
                    text_format.Parse(changed, model_server_config_pb2.ModelServerConfig())
                    == config
                ):
                    return changed
    return None
