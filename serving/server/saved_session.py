"""A SavedModel in a session of TensorFlow's C API, as TF Serving holds it: the C++ loader and no
graph in Python.

`tf.compat.v1.Session.run` takes 0.2 ms longer for a row, in Python, and the loader of
`tf.compat.v1.saved_model` keeps the interpreter from all other threads while it builds a graph of
Python objects.
"""

import ctypes
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..protocol.statuses import StatusError, failed_precondition, from_number, invalid
from ..protocol.tensors import dtype_of, type_name

_STRING_BYTES = 24
_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
# Function -> (what it returns, what it takes), for those that end at once and may keep the
# interpreter.
_QUICK = {
    "AllocateTensor": (_POINTER, (_INT, _POINTER, _INT, _SIZE)),
    "DeleteStatus": (None, (_POINTER,)),
    "DeleteTensor": (None, (_POINTER,)),
    "Dim": (ctypes.c_int64, (_POINTER, _INT)),
    "GetCode": (_INT, (_POINTER,)),
    "GraphOperationByName": (_POINTER, (_POINTER, ctypes.c_char_p)),
    "Message": (ctypes.c_char_p, (_POINTER,)),
    "NewBuffer": (_POINTER, ()),
    "NewGraph": (_POINTER, ()),
    "NewSessionOptions": (_POINTER, ()),
    "NewStatus": (_POINTER, ()),
    "NumDims": (_INT, (_POINTER,)),
    "SetConfig": (None, (_POINTER, ctypes.c_char_p, _SIZE, _POINTER)),
    "StringCopy": (None, (_POINTER, ctypes.c_char_p, _SIZE)),
    "StringGetDataPointer": (_POINTER, (_POINTER,)),
    "StringGetSize": (_SIZE, (_POINTER,)),
    "TensorByteSize": (_SIZE, (_POINTER,)),
    "TensorData": (_POINTER, (_POINTER,)),
    "TensorType": (_INT, (_POINTER,)),
}
_SLOW = {
    "CloseSession": (None, (_POINTER, _POINTER)),
    "DeleteBuffer": (None, (_POINTER,)),
    "DeleteGraph": (None, (_POINTER,)),
    "DeleteSession": (None, (_POINTER, _POINTER)),
    "DeleteSessionOptions": (None, (_POINTER,)),
    "LoadSessionFromSavedModel": (
        _POINTER,
        (_POINTER, _POINTER, ctypes.c_char_p, _POINTER, _INT, _POINTER, _POINTER, _POINTER),
    ),
    "SessionRun": (
        None,
        (*[_POINTER] * 4, _INT, _POINTER, _POINTER, _INT, _POINTER, _INT, _POINTER, _POINTER),
    ),
}


class _Output(ctypes.Structure):
    _fields_ = (("operation", _POINTER), ("index", _INT))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", _POINTER), ("length", _SIZE), ("deallocator", _POINTER))


class SavedSession:
    """A session with a SavedModel for serving.

    Args:
      folder: with saved_model.pb.
      config: of the session.

    Attributes:
      definitions: name -> SignatureDef.

    Errors: StatusError with the code that TensorFlow gives when it cannot load it.
    """

    def __init__(self, folder: str | Path, config: tf.compat.v1.ConfigProto):
        self._api = _api()
        self._graph, self._session = self._api.NewGraph(), None
        options, buffer = self._api.NewSessionOptions(), self._api.NewBuffer()
        try:
            written = config.SerializeToString()
            self._checked(
                lambda status: self._api.SetConfig(options, written, len(written), status)
            )
            tags = (ctypes.c_char_p * 1)(tf.saved_model.SERVING.encode())
            load, path = self._api.LoadSessionFromSavedModel, os.fsencode(folder)
            self._session = self._checked(
                lambda status: load(options, None, path, tags, 1, self._graph, buffer, status)
            )
            meta = _Buffer.from_address(buffer)
            self.definitions = tf.compat.v1.MetaGraphDef.FromString(
                ctypes.string_at(meta.data, meta.length)
            ).signature_def
        except BaseException:
            self.close()
            raise
        finally:
            self._api.DeleteSessionOptions(options)
            self._api.DeleteBuffer(buffer)

    def function(self, inputs: Sequence, outputs: Sequence[str]) -> Callable[..., list[np.ndarray]]:
        """A function of arrays to a list of arrays, texts in both as bytes in arrays of objects.

        Args:
          inputs: TensorInfo of each argument.
          outputs: names of tensors.

        Errors: StatusError when the graph has not such tensors; of the function StatusError with
        the code that TensorFlow gives.
        """
        types = [info.dtype for info in inputs]
        fed = (_Output * len(inputs))(*[self._place(info.name) for info in inputs])
        fetched = (_Output * len(outputs))(*map(self._place, outputs))
        fed_type, fetched_type, run = (
            _POINTER * len(fed),
            _POINTER * len(fetched),
            self._api.SessionRun,
        )

        def call(*arrays):
            given, answers = fed_type(), fetched_type()
            try:
                for place, array in enumerate(arrays):
                    given[place] = self._tensor(array, types[place])
                self._checked(
                    lambda status: run(
                        self._session,
                        None,
                        fed,
                        given,
                        len(fed),
                        fetched,
                        answers,
                        len(fetched),
                        None,
                        0,
                        None,
                        status,
                    )
                )
                return [self._array(tensor) for tensor in answers]
            finally:
                for tensor in (*given, *answers):
                    if tensor:
                        self._api.DeleteTensor(tensor)

        return call

    def close(self) -> None:
        """Gives the memory back; nothing may run any more."""
        session, self._session = self._session, None
        if session:
            self._checked(lambda status: self._api.CloseSession(session, status))
            self._checked(lambda status: self._api.DeleteSession(session, status))
        graph, self._graph = self._graph, None
        if graph:
            self._api.DeleteGraph(graph)

    def _checked(self, call: Callable):
        """What a call that takes a status returns. Errors: StatusError where the status is one."""
        status = self._api.NewStatus()
        try:
            result = call(status)
            code = self._api.GetCode(status)
            if code:
                raise StatusError(
                    from_number(code), self._api.Message(status).decode(errors="replace")
                )
            return result
        finally:
            self._api.DeleteStatus(status)

    def _place(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        found = self._api.GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise invalid(f"The graph has no operation {operation}")
        return _Output(found, int(index or 0))

    def _tensor(self, array: np.ndarray, number: int) -> int:
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        if not array.dtype.hasobject:
            tensor = self._api.AllocateTensor(number, shape, array.ndim, array.nbytes)
            ctypes.memmove(
                self._api.TensorData(tensor), np.ascontiguousarray(array).ctypes.data, array.nbytes
            )
            return tensor
        texts = array.ravel().tolist()
        # Before anything is allocated: what is no text has no length, or another type.
        filled = [(place, text, len(text)) for place, text in enumerate(texts) if text != b""]
        tensor = self._api.AllocateTensor(number, shape, array.ndim, _STRING_BYTES * len(texts))
        data, copy = self._api.TensorData(tensor), self._api.StringCopy
        # Of zeros is "".
        ctypes.memset(data, 0, _STRING_BYTES * len(texts))
        try:
            for place, text, length in filled:
                copy(data + _STRING_BYTES * place, text, length)
        except ctypes.ArgumentError:
            self._api.DeleteTensor(tensor)
            raise
        return tensor

    def _array(self, tensor: int) -> np.ndarray:
        api, dtype = self._api, dtype_of(self._api.TensorType(tensor))
        if dtype is None:
            raise invalid(
                f"an output has the type {type_name(api.TensorType(tensor))}, which cannot be sent; ask for others."
            )
        shape = [api.Dim(tensor, axis) for axis in range(api.NumDims(tensor))]
        data, count = api.TensorData(tensor), math.prod(shape)
        if not dtype.hasobject:
            return np.frombuffer(ctypes.string_at(data, api.TensorByteSize(tensor)), dtype).reshape(
                shape
            )
        ends = range(data or 0, (data or 0) + _STRING_BYTES * count, _STRING_BYTES)
        result = np.empty(count, object)
        result[:] = [
            ctypes.string_at(api.StringGetDataPointer(place), api.StringGetSize(place))
            for place in ends
        ]
        return result.reshape(shape)


@functools.cache
def _api():
    """The functions of the library that belongs to the installed TensorFlow, without their prefix."""
    folder = Path(tf.sysconfig.get_lib())
    path = next(folder.glob("libtensorflow_cc.*"), None)
    if path is None:
        raise failed_precondition(
            f"{folder} must hold libtensorflow_cc, but does not; install TensorFlow for Linux or macOS again."
        )
    found = type("Api", (), {})()
    for library, functions in ((ctypes.PyDLL(str(path)), _QUICK), (ctypes.CDLL(str(path)), _SLOW)):
        for name, (result, arguments) in functions.items():
            function = library[f"TF_{name}"]
            function.restype, function.argtypes = result, arguments
            setattr(found, name, function)
    return found
