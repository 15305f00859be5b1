"""The gRPC services of TF Serving, which a model store implements."""

import functools
import logging
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from ..protocol.statuses import StatusError, invalid
from ..protocol.tensors import fill, to_array
from .graceful_stop import InFlight
from .model_config import ModelConfig, VersionPolicy
from .model_store import ModelStore
from .signature import MAX_ELEMENTS

_SIGNATURES = "signature_def"
# Most inputs or output names of a request. Signatures have fewer.
_MAX_NAMES = 64
_UNREADABLE = object()
_log = logging.getLogger(__name__)


def add_services(server: grpc.Server, store: ModelStore, in_flight: InFlight) -> None:
    """Adds PredictionService and ModelService to a server.

    They have the methods Predict, GetModelMetadata, GetModelStatus and HandleReloadConfigRequest.
    Other methods fail with UNIMPLEMENTED.

    Args:
        server: Server that has not started.
        store: The models.
        in_flight: Counts each call until its response is sent.
    """
    services = {
        "PredictionService": {
            "Predict": (_predict, predict_pb2.PredictRequest),
            "GetModelMetadata": (_metadata, get_model_metadata_pb2.GetModelMetadataRequest),
        },
        "ModelService": {
            "GetModelStatus": (_status, get_model_status_pb2.GetModelStatusRequest),
            "HandleReloadConfigRequest": (_reload, model_management_pb2.ReloadConfigRequest),
        },
    }
    for name, methods in services.items():
        handlers = {
            key: _handler(functools.partial(method, store), kind, in_flight)
            for key, (method, kind) in methods.items()
        }
        generic = grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", handlers)
        server.add_generic_rpc_handlers((generic,))


def _handler(method: Callable, kind: type, in_flight: InFlight) -> grpc.RpcMethodHandler:
    """Makes the handler of a method. It turns every exception into the status of the call."""

    def read(data):
        # Otherwise gRPC returns INTERNAL, although the client made the error.
        try:
            return kind.FromString(data)
        except DecodeError:
            return _UNREADABLE

    def answer(request, context):
        try:
            in_flight.enter()
            if not context.add_callback(in_flight.leave):
                in_flight.leave()
            if request is _UNREADABLE:
                raise invalid(f"The message is not a {kind.DESCRIPTOR.name}; send one.")
            return method(request)
        except StatusError as error:
            code, message = error.code, error.message
        except Exception:
            _log.exception("A call could not be answered.")
            code = grpc.StatusCode.INTERNAL
            message = "The server failed to answer; its log says why."
        return context.abort(code, message)

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=read,
        response_serializer=lambda response: response.SerializeToString(),
    )


def _predict(store, request):
    spec = request.model_spec
    try:
        inputs = _arrays(request)
    except StatusError as error:
        name = spec.name if spec.name in store.names() else ""
        store.metrics.requested(name, "", error.code, 0.0)
        raise
    version, signature, outputs = store.predict(
        spec.name, spec.signature_name, inputs, *_version_of(spec), request.output_filter[:]
    )
    response = predict_pb2.PredictResponse()
    _set_model(response.model_spec, spec.name, version)
    response.model_spec.signature_name = signature
    for name, array in outputs.items():
        fill(response.outputs[name], array)
    return response


def _metadata(store, request):
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURES:
            raise invalid(f"Metadata field {field} is not supported")
    spec, response = request.model_spec, get_model_metadata_pb2.GetModelMetadataResponse()
    with store.using(spec.name, *_version_of(spec)) as found:
        _set_model(response.model_spec, spec.name, found.number)
        response.metadata[_SIGNATURES].Pack(found.model.definitions)
    return response


def _status(store, request):
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    statuses = store.status(spec.name, *_version_of(spec))
    return get_model_status_pb2.GetModelStatusResponse(model_version_status=statuses)


def _reload(store, request):
    if request.config.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
            "ModelConfigList is currently supported"
        )
    store.reload([_config_of(one) for one in request.config.model_config_list.config])
    return model_management_pb2.ReloadConfigResponse()


def _arrays(request: predict_pb2.PredictRequest) -> dict:
    for what, values in (("inputs", request.inputs), ("names of outputs", request.output_filter)):
        if len(values) > _MAX_NAMES:
            raise invalid(f"A request may have at most {_MAX_NAMES} {what}; send fewer.")
    return {name: to_array(proto, name, MAX_ELEMENTS) for name, proto in request.inputs.items()}


def _version_of(spec: model_pb2.ModelSpec) -> tuple[int | None, str | None]:
    kind = spec.WhichOneof("version_choice")
    return (
        spec.version.value if kind == "version" else None,
        spec.version_label if kind == "version_label" else None,
    )


def _set_model(spec: model_pb2.ModelSpec, name: str, version: int) -> None:
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
