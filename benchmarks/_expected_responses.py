"""Computes the expected responses of a server without the server."""

import math
from pathlib import Path

from tensorflow_serving.apis import predict_pb2

from serving.clients import requests
from serving.clients.grpc_client import read_response
from tfrec_attn.runtime.runner import Runner


class ExpectedResponses:
    """The responses of two models, computed in TensorFlow sessions.

    Args:
        folders: Version folders of the two models.
        asked: Requests to compute the responses of.

    Attributes:
        versions: Numbers of the versions in the checked responses.
        examples: (version, signature, response, expected response) of each wrong response.
    """

    def __init__(self, folders: list[Path], asked: list[requests.Request]):
        self._asked, self._expected, self.versions, self.examples = asked, [], set(), []
        for folder in folders:
            with Runner(folder) as session:
                self._expected.append([self._response(session, request) for request in asked])

    def check(self, number: int, data: bytes) -> str:
        """Returns the status of a response, "OK" or "WRONG".

        Versions with an odd number are the first model, the others the second.

        Args:
            number: Number of the request. The requests are sent in turn.
            data: Bytes of the `PredictResponse`.
        """
        message, place = predict_pb2.PredictResponse.FromString(data), number % len(self._asked)
        version, request = message.model_spec.version.value, self._asked[place]
        self.versions.add(version)
        response = read_response(request, message)
        expected = self._expected[1 - version % 2][place]
        if _same(_parts(response), _parts(expected)):
            return "OK"
        self.examples.append((version, request.signature, response, expected))
        return "WRONG"

    @staticmethod
    def _response(session, request):
        inputs = {name: [value] for name, value in request.row().items()}
        outputs = session.run(request.signature, **inputs)
        return request.response(
            {name: _decoded(array.tolist()[0]) for name, array in outputs.items()}
        )


def _decoded(value):
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


def _parts(response) -> list:
    """The texts and numbers of a response in one list."""
    if hasattr(response, "__dict__"):
        response = list(vars(response).values())
    if isinstance(response, list):
        return [part for one in response for part in _parts(one)]
    return [response]


def _same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5)
        if isinstance(a, float) and isinstance(b, float)
        else a == b
        for a, b in zip(one, other, strict=True)
    )
