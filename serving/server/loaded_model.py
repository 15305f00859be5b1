"""A version of a model in memory, which a TensorFlow session runs."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from tfrec_attn.errors import first_line
from tfrec_attn.files.checksums import SERVABLE_SUMS, first_damage
from tfrec_attn.runtime import saved_model

from ..protocol.statuses import StatusError, failed_precondition, invalid, without_folder
from ..protocol.tensors import to_array
from .batching import Batcher
from .catalogue import Catalogue, read_catalogue
from .signature import Signature

WARMUP = "assets.extra/tf_serving_warmup_requests"
DEFAULT_SIGNATURE = "serving_default"
_MAX_WARMUPS = 1000


class LoadedModel:
    """A SavedModel whose signatures can be run.

    Args:
        folder: Version folder with saved_model.pb.
        threads: Threads of one operation (default: 1). The first model of a process decides for
            all. One thread is best for small models under load.

    Attributes:
        definitions: The signatures as a SignatureDefMap.
        signatures: `Signature` by name, for the signatures that requests can name.

    Raises:
        StatusError: If TensorFlow cannot load the SavedModel.
    """

    def __init__(self, folder: str | Path, threads: int = 1):
        self.folder = Path(folder)
        self._catalogue, self._reading = None, threading.Lock()
        # A negative number makes the calling thread run the operations itself.
        config = tf.compat.v1.ConfigProto(
            inter_op_parallelism_threads=-1, intra_op_parallelism_threads=threads
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            definitions = saved_model.load(self.folder, self._session)
            self.definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=definitions)
            self.signatures = {
                name: Signature(
                    name, definition, saved_model.function_of(self._session, definition)
                )
                for name, definition in definitions.items()
                if definition.method_name
            }
        except Exception as error:
            self._session.close()
            # Removes the folder first, because a long message loses its middle.
            reason = without_folder(first_line(error), self.folder, "it")
            message = f"{folder} cannot be loaded as a SavedModel ({reason}); export it again."
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, message) from None

    def signature(self, name: str) -> Signature:
        """Returns a signature by name, `serving_default` for "".

        Raises:
            StatusError: FAILED_PRECONDITION if there is no such signature.
        """
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            raise failed_precondition(
                f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.'
            )
        return found

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
        batchers: Mapping[str, Batcher] = MappingProxyType({}),
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: Name of the signature, "" for `serving_default`.
            inputs: All inputs of the signature. Texts are bytes in arrays of objects.
            outputs: Names of the outputs to return. Empty (default) returns all.
            batchers: Batchers by signature. A signature without a batcher runs at once.

        Raises:
            StatusError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for unknown
                or invalid inputs and unknown outputs, UNAVAILABLE if the queue is full, and
                TensorFlow's own code for values that it rejects.
        """
        found = self.signature(signature)
        found.check(inputs)
        chosen = found.chosen(outputs)
        answer = batchers.get(found.name, found).run(inputs)
        return {name: answer[name] for name in chosen}

    def warm_up(self) -> int:
        """Runs the requests of the warm-up file, if there is one.

        Returns:
            Number of requests.

        Raises:
            StatusError: If the file cannot be read, has more than 1,000 requests or one that is not
                a Predict request, or if a request fails.
        """
        path = self.folder / WARMUP
        if not path.is_file():
            return 0
        if what := first_damage(self.folder, [WARMUP], SERVABLE_SUMS):
            raise invalid(f"{what}; export the model again.")
        count = 0
        for count, record in enumerate(_records(path), 1):
            if count > _MAX_WARMUPS:
                raise invalid(f"{path} has more than {_MAX_WARMUPS} requests; leave some out.")
            self._replay(record, f"request {count} of {path}")
        return count

    @property
    def catalogue(self) -> Catalogue:
        """The items of the version. The first use reads them."""
        with self._reading:
            if self._catalogue is None:
                self._catalogue = read_catalogue(self.folder)
            return self._catalogue

    def close(self) -> None:
        """Closes the TensorFlow session. All requests must have ended."""
        self.signatures = {}
        self._session.close()

    def _replay(self, record: bytes, where: str) -> None:
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                raise invalid("it is not a Predict request")
            request = log.predict_log.request
            inputs = {name: to_array(proto, name) for name, proto in request.inputs.items()}
            self.run(request.model_spec.signature_name, inputs, tuple(request.output_filter))
        except StatusError as error:
            raise StatusError(
                error.code, f"{where} fails ({error.message.rstrip('.')}); export the model again."
            ) from None
        except Exception as error:
            raise invalid(
                f"{where} cannot be read ({first_line(error)}); export the model again."
            ) from None


def _records(path: Path) -> Iterator[bytes]:
    try:
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise invalid(
            f"{path} cannot be read ({first_line(error)}); export the model again."
        ) from None
