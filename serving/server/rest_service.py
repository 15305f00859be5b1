"""The REST API of TF Serving, which a model store implements, with metrics and a web page."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path

import grpc
from google.protobuf import json_format

from ..protocol import rest_json
from ..protocol.statuses import StatusError, invalid
from ..protocol.tensors import dtype_of
from .http_server import Response
from .loaded_model import DEFAULT_SIGNATURE
from .model_path import MODEL_PATH, spec_of

METRICS_PATH = "/monitoring/prometheus/metrics"
_METHOD = re.compile("/v1" + MODEL_PATH + ":(predict|classify|regress)", re.IGNORECASE)
_ABOUT = re.compile("/v1" + MODEL_PATH + "(/metadata)?", re.IGNORECASE)
_OPENAPI = Path(__file__).with_name("openapi.json")
# Default values of inputs. TF Serving has no defaults and requires all inputs.
_OPTIONAL = {
    **dict.fromkeys(("user_id", "exclude", "allow", "allow_category", "by"), ""),
    **dict.fromkeys(("per_category", "popularity_penalty", "diversity"), 0),
    "k": 10,
}
_HISTORY, _SIMILAR = "history", "similar"


class RestService:
    """Responds to HTTP requests as TF Serving does.

    It serves POST /v1/models/NAME[/versions/V | /labels/L]:predict, GET /v1/models/NAME[...] for
    the states of the versions, GET .../metadata for the signatures, and the metrics for Prometheus.
    Besides the API of TF Serving, it serves the web page and /openapi.json, which describes all
    paths. Requests can leave out inputs with a default. As in TF Serving, a request below /v1/ that
    fits no path and method is a 400. Other unknown paths are a 404.

    Args:
        store: A `ModelStore`.
        page: A `PageService`.
        metrics: Function that returns the metrics in the text format of Prometheus.
    """

    def __init__(self, store, page, metrics: Callable[[], bytes]):
        self._store, self._page = store, page
        self._own = {
            "/openapi.json": lambda: Response(200, _OPENAPI.read_bytes()),
            METRICS_PATH: lambda: Response(
                200, metrics(), "text/plain; version=0.0.4; charset=utf-8"
            ),
        }

    def respond(self, method: str, path: str, body: bytes) -> Response:
        """Returns the response to a request."""
        try:
            if path.lower().startswith("/v1/"):
                return self._respond_v1(method, path, body)
            if path not in self._own:
                return self._page.respond(method, path, body) or _failure(
                    404, "There is nothing under this path; models are under /v1/models/NAME."
                )
            if method not in ("GET", "HEAD"):
                return _failure(405, f"{path} takes GET only.", (("Allow", "GET, HEAD"),))
            return self._own[path]()
        except StatusError as error:
            return _failure(error.http, error.message)

    def _respond_v1(self, method, path, body):
        if method == "POST" and (match := _METHOD.fullmatch(path)):
            if match[4].lower() != "predict":
                raise StatusError(
                    grpc.StatusCode.UNIMPLEMENTED, "Only predict is served; ask for :predict."
                )
            return Response(200, self._predict(*spec_of(match), body))
        if method == "GET" and (match := _ABOUT.fullmatch(path)):
            return Response(
                200, self._metadata(*spec_of(match)) if match[4] else self._status(*spec_of(match))
            )
        if method == "GET" and path.lower() in ("/v1/models", "/v1/models/"):
            raise invalid("Missing model name in request; ask for /v1/models/NAME.")
        raise invalid(
            f"Malformed request: {method} {path[:200]}; "
            "POST to /v1/models/NAME:predict, or GET /v1/models/NAME."
        )

    def _predict(self, name, version, label, body):
        request = rest_json.parse(body)
        signature = request.signature or DEFAULT_SIGNATURE
        dtypes, defaults = self._inputs(name, version, label, signature)
        inputs = rest_json.to_arrays(request, dtypes, defaults)
        _, _, outputs = self._store.predict(
            name, request.signature, inputs, version=version, label=label
        )
        return rest_json.from_arrays(outputs, request.rows)

    def _inputs(self, name, version, label, signature):
        """(types of the inputs by name, which JSON does not say; defaults of optional inputs)."""
        with self._store.using(name, version, label) as found:
            definitions = found.model.definitions.signature_def
        if signature not in definitions:
            raise invalid(f'Serving signature name: "{signature[:80]}" not found in signature def.')
        inputs = sorted(definitions[signature].inputs.items())
        dtypes = {key: dtype_of(info.dtype) for key, info in inputs}
        if None in dtypes.values():
            raise invalid(f'The signature "{signature}" has inputs that JSON cannot carry.')
        ranks = {key: len(info.tensor_shape.dim) for key, info in inputs}
        if _HISTORY not in ranks and signature != _SIMILAR:
            return dtypes, {}
        # An input of rank 2 gets a list with the default as its only column.
        optional = {name: value for name, value in _OPTIONAL.items() if name in ranks}
        return dtypes, {name: [one] if ranks[name] == 2 else one for name, one in optional.items()}

    def _metadata(self, name, version, label):
        with self._store.using(name, version, label) as found:
            signatures = _in_full(found.model.definitions)
        spec = {"name": name, "signature_name": "", "version": str(found.number)}
        return _dumped({"model_spec": spec, "metadata": {"signature_def": signatures}})

    def _status(self, name, version, label):
        statuses = map(_in_full, self._store.status(name, version, label))
        return _dumped({"model_version_status": list(statuses)})


def _in_full(message):
    """Converts a message to JSON with all fields. The option's name depends on protobuf."""
    known = inspect.signature(json_format.MessageToDict).parameters
    option = (
        "always_print_fields_with_no_presence"
        if "always_print_fields_with_no_presence" in known
        else "including_default_value_fields"
    )
    return json_format.MessageToDict(message, preserving_proto_field_name=True, **{option: True})


def _dumped(value):
    return json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "replace")


def _failure(status, message, headers=()):
    return Response(status, rest_json.error_body(message), headers=headers)
