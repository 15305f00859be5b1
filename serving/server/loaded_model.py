"""One version of a SavedModel in memory, run as TF Serving runs it: by the C++ loader and a
session.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from ..checks.checksums import SERVABLE_SUMS, damage
from ..protocol.statuses import StatusError, failed_precondition, invalid
from ..protocol.tensors import to_array
from .saved_session import SavedSession
from .signature import Signature, first_line

WARMUP = "assets.extra/tf_serving_warmup_requests"
DEFAULT_SIGNATURE = "serving_default"
_MOST_WARMUPS = 1000
_READ = ("saved_model.pb", "variables/", "assets/")


class LoadedModel:
    """A SavedModel whose signatures can be run.

    Args:
      folder: with saved_model.pb.
      threads: that an operation uses; of the models of a process the first decides. One is best for
        small models under load, as passing work on takes longer than doing it.

    Attributes:
      definitions: its signatures as a SignatureDefMap.
      signatures: name -> `Signature`, those that requests can name.

    Errors: StatusError when TensorFlow cannot load it.
    """

    def __init__(self, folder: str | Path, threads: int = 1):
        self.folder = Path(folder)
        # Below 0 the thread that calls runs the operations, instead of handing them to a pool.
        config = tf.compat.v1.ConfigProto(
            inter_op_parallelism_threads=-1, intra_op_parallelism_threads=threads
        )
        self._session = None
        try:
            # Before TensorFlow sees them: of some damaged files it reads other numbers, and says
            # nothing.
            if what := damage(self.folder, SERVABLE_SUMS, _READ):
                raise ValueError(what)
            self._session = SavedSession(folder, config)
            self.definitions = get_model_metadata_pb2.SignatureDefMap(
                signature_def=self._session.definitions
            )
            named = {
                name: definition
                for name, definition in self._session.definitions.items()
                if definition.method_name
            }
            self.signatures = {
                name: self._signature(name, definition)
                for name, definition in sorted(named.items())
            }
        except Exception as error:
            if self._session:
                self._session.close()
            message = (
                f"{folder} cannot be loaded as a SavedModel ({first_line(error)}); export it again."
            )
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, message) from None

    def signature(self, name: str) -> Signature:
        """A signature by name, `serving_default` for "".

        Errors: StatusError FAILED_PRECONDITION when there is none.
        """
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            raise failed_precondition(
                f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found.'
            )
        return found

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Outputs of a signature.

        Args:
          signature: its name, "" for `serving_default`.
          inputs: all of its inputs; texts as bytes in arrays of objects.
          outputs: those wanted, all by default.

        Errors: StatusError FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for
        inputs or outputs that it has not, and what TensorFlow finds wrong with the values.
        """
        found = self.signature(signature)
        found.check(inputs)
        chosen = found.chosen(outputs)
        answer = found.run(inputs)
        return {name: answer[name] for name in chosen}

    def warm_up(self) -> int:
        """Answers the requests of its warm-up file, where it has one. Returns their number.

        Errors: StatusError when the file cannot be read, has more than 1,000 or other than Predict
        requests, or one of them fails.
        """
        path = self.folder / WARMUP
        if not path.is_file():
            return 0
        if what := damage(self.folder, SERVABLE_SUMS, [WARMUP]):
            raise invalid(f"{what}; export the model again.")
        count = 0
        for count, record in enumerate(_records(path), 1):
            if count > _MOST_WARMUPS:
                raise invalid(f"{path} has more than {_MOST_WARMUPS} requests; leave some out.")
            self._replay(record, f"request {count} of {path}")
        return count

    def close(self) -> None:
        """Gives the memory back; nothing may run any more."""
        self.signatures = {}
        self._session.close()

    def _signature(self, name: str, definition) -> Signature:
        fed = [definition.inputs[key] for key in sorted(definition.inputs)]
        fetched = [definition.outputs[key].name for key in sorted(definition.outputs)]
        return Signature(name, definition, self._session.function(fed, fetched))

    def _replay(self, record: bytes, where: str) -> None:
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                raise invalid("it is none for Predict")
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
