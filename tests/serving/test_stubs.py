"""Whether the messages of tensorflow-serving-api load: those of 2.16 do not with the protobuf of TensorFlow 2.16."""

import importlib

import pytest


def test_the_stubs_load():
    try:
        stubs = importlib.import_module("tensorflow_serving.apis.model_service_pb2")
    except AttributeError as error:
        pytest.skip(f"serving is not tested: tensorflow-serving-api is too old for protobuf ({error})")
    assert stubs.DESCRIPTOR.package == "tensorflow.serving"
