"""Reports on the quality of a log: problems, drift and anomalies."""

from tfrec_attn.errors import ConfigError, first_line

try:
    import tensorflow_metadata.proto.v0.schema_pb2  # noqa: F401  Some versions need a newer protobuf.
except ImportError as error:
    raise ConfigError(
        f"tensorflow-metadata cannot be loaded ({first_line(error)}); with TensorFlow 2.17 or "
        "older, install tensorflow-metadata==1.17.3."
    ) from None
