"""TF Serving's services over gRPC: its protos, a store behind them."""

from collections.abc import Callable
from functools import wraps

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.model_store import ModelConfig, ModelStore
from serving.statuses import StatusError, invalid
from serving.tensors import fill, to_array
from serving.version_policy import VersionPolicy

_SIGNATURES = "signature_def"


def _answering(method: Callable) -> Callable:
    """The method with its StatusError as the status of the call."""

    @wraps(method)
    def answer(self, request, context):
        try:
            return method(self, request, context)
        except StatusError as error:
            return context.abort(error.code, error.message)

    return answer


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the other methods are UNIMPLEMENTED."""

    def __init__(self, store: ModelStore):
        self._store = store

    @_answering
    def Predict(self, request, context):
        """Runs a signature of a model."""
        spec = request.model_spec
        try:
            inputs = {name: to_array(proto, name) for name, proto in request.inputs.items()}
        except StatusError as error:
            self._store.metrics.requested(spec.name if spec.name in self._store.names() else "", "", error.code, 0.0)
            raise
        version, signature, outputs = self._store.predict(
            spec.name, spec.signature_name, inputs, *_version_of(spec), request.output_filter[:]
        )
        response = predict_pb2.PredictResponse()
        _say_which(response.model_spec, spec.name, version)
        response.model_spec.signature_name = signature
        for name, array in outputs.items():
            fill(response.outputs[name], array)
        return response

    @_answering
    def GetModelMetadata(self, request, context):
        """The signatures of a model."""
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURES:
                raise invalid(f"Metadata field {field} is not supported")
        version, definitions = self._store.metadata(request.model_spec.name, *_version_of(request.model_spec))
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _say_which(response.model_spec, request.model_spec.name, version)
        response.metadata[_SIGNATURES].Pack(definitions)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, store: ModelStore):
        self._store = store

    @_answering
    def GetModelStatus(self, request, context):
        """Where the versions of a model stand."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        return status_response(self._store, request.model_spec.name, *_version_of(request.model_spec))

    @_answering
    def HandleReloadConfigRequest(self, request, context):
        """Changes which versions are served, and their labels."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid("ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported")
        self._store.reload([_config_of(one) for one in request.config.model_config_list.config])
        return model_management_pb2.ReloadConfigResponse()


def status_response(
    store: ModelStore, name: str, version: int | None = None, label: str | None = None
) -> get_model_status_pb2.GetModelStatusResponse:
    """Where the versions of a model stand, as TF Serving says it.

    Errors: StatusError as of `ModelStore.status`.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in store.status(name, version, label):
        one = response.model_version_status.add(version=status.version, state=int(status.state))
        one.status.error_code = status.code.value[0]
        one.status.error_message = status.message
    return response


def add_services(server: grpc.Server, store: ModelStore) -> None:
    """Gives a server both services."""
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(store), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(store), server)


def _version_of(spec: model_pb2.ModelSpec) -> tuple[int | None, str | None]:
    kind = spec.WhichOneof("version_choice")
    return spec.version.value if kind == "version" else None, spec.version_label if kind == "version_label" else None


def _say_which(spec: model_pb2.ModelSpec, name: str, version: int) -> None:
    spec.name = name
    spec.version.value = version


def _config_of(config: model_server_config_pb2.ModelConfig) -> ModelConfig:
    policy = VersionPolicy()
    given = config.model_version_policy
    kind = given.WhichOneof("policy_choice")
    if kind == "all":
        policy = VersionPolicy(every=True)
    elif kind == "specific":
        policy = VersionPolicy(specific=tuple(given.specific.versions))
    elif kind == "latest":
        policy = VersionPolicy(latest=given.latest.num_versions or 1)
    return ModelConfig(config.name, config.base_path or None, policy, dict(config.version_labels))
