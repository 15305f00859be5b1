"""Runs SavedModels through TensorFlow's C API, without TensorFlow's Python: `python c_api.py
LIBRARIES < REQUESTS > ANSWERS`.

LIBRARIES is a folder with libtensorflow_framework.so.2 and libtensorflow_cc.so.2. REQUESTS is JSON:
folder of a SavedModel -> list of {"inputs": {name of a tensor: {"dtype", "shape", "values"
(flat)}}, "outputs": [names of tensors]}. ANSWERS is {"version": TensorFlow's, "answers": folder ->
for each request a list of {"dtype", "shape", "values"}}.
"""

import ctypes
import json
import math
import sys

CODES = {"float32": 1, "int32": 3, "string": 7, "int64": 9, "bool": 10}
TYPES = {1: ctypes.c_float, 3: ctypes.c_int32, 9: ctypes.c_int64, 10: ctypes.c_bool}
STRING, STRING_SIZE = 7, 24


class Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def load(folder):
    """The libraries, with the types of their results; pointers are passed as `c_void_p`."""
    ctypes.CDLL(f"{folder}/libtensorflow_framework.so.2", mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(f"{folder}/libtensorflow_cc.so.2", mode=ctypes.RTLD_GLOBAL)
    for name in (
        "NewStatus",
        "NewGraph",
        "NewSessionOptions",
        "LoadSessionFromSavedModel",
        "GraphOperationByName",
        "AllocateTensor",
        "TensorData",
        "StringGetDataPointer",
    ):
        getattr(library, f"TF_{name}").restype = ctypes.c_void_p
    for name in ("Dim", "TensorElementCount"):
        getattr(library, f"TF_{name}").restype = ctypes.c_int64
    for name in ("Message", "Version"):
        getattr(library, f"TF_{name}").restype = ctypes.c_char_p
    library.TF_StringGetSize.restype = ctypes.c_size_t
    return library


class SavedModel:
    """A session made from a SavedModel with the tag "serve"."""

    def __init__(self, library, folder):
        self.library = library
        self.status = ctypes.c_void_p(library.TF_NewStatus())
        self.graph = ctypes.c_void_p(library.TF_NewGraph())
        options = ctypes.c_void_p(library.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        load = library.TF_LoadSessionFromSavedModel
        self.session = ctypes.c_void_p(
            load(options, None, folder.encode(), tags, 1, self.graph, None, self.status)
        )
        self.check()

    def check(self):
        if self.library.TF_GetCode(self.status):
            sys.exit(self.library.TF_Message(self.status).decode())

    def run(self, inputs, outputs):
        places = (Output * len(inputs))(*map(self.output, inputs))
        values = (ctypes.c_void_p * len(inputs))(*map(self.tensor, inputs.values()))
        wanted = (Output * len(outputs))(*map(self.output, outputs))
        answers = (ctypes.c_void_p * len(outputs))()
        counts = [ctypes.c_int(len(one)) for one in (inputs, outputs)]
        self.library.TF_SessionRun(
            self.session,
            None,
            places,
            values,
            counts[0],
            wanted,
            answers,
            counts[1],
            None,
            0,
            None,
            self.status,
        )
        self.check()
        return [self.array(ctypes.c_void_p(answer)) for answer in answers]

    def output(self, name):
        name, _, index = name.partition(":")
        operation = self.library.TF_GraphOperationByName(self.graph, name.encode())
        return (
            Output(operation, int(index))
            if operation
            else sys.exit(f"The graph has no operation {name}.")
        )

    def tensor(self, array):
        code, shape, values = CODES[array["dtype"]], array["shape"], array["values"]
        size = STRING_SIZE if code == STRING else ctypes.sizeof(TYPES[code])
        dims = (ctypes.c_int64 * len(shape))(*shape)
        length = ctypes.c_size_t(size * math.prod(shape))
        tensor = ctypes.c_void_p(self.library.TF_AllocateTensor(code, dims, len(shape), length))
        data = self.library.TF_TensorData(tensor)
        if code != STRING:
            (TYPES[code] * len(values)).from_address(data)[:] = values
            return tensor.value
        for index, value in enumerate(values):
            place, text = ctypes.c_void_p(data + STRING_SIZE * index), value.encode()
            self.library.TF_StringInit(place)
            self.library.TF_StringCopy(place, text, ctypes.c_size_t(len(text)))
        return tensor.value

    def array(self, tensor):
        code, count = self.library.TF_TensorType(tensor), self.library.TF_TensorElementCount(tensor)
        data = self.library.TF_TensorData(tensor)
        if code == STRING:
            places = [ctypes.c_void_p(data + STRING_SIZE * index) for index in range(count)]
            texts = (
                (self.library.TF_StringGetDataPointer(place), self.library.TF_StringGetSize(place))
                for place in places
            )
            values = [ctypes.string_at(*text).decode() for text in texts]
        else:
            values = list((TYPES[code] * count).from_address(data)) if count else []
        shape = [
            self.library.TF_Dim(tensor, axis) for axis in range(self.library.TF_NumDims(tensor))
        ]
        return {
            "dtype": {number: name for name, number in CODES.items()}[code],
            "shape": shape,
            "values": values,
        }


def main(libraries):
    library, answers = load(libraries), {}
    for folder, requests in json.load(sys.stdin).items():
        model = SavedModel(library, folder)
        answers[folder] = [model.run(request["inputs"], request["outputs"]) for request in requests]
    if "tensorflow" in sys.modules:
        sys.exit("TensorFlow's Python is loaded, so this proves nothing.")
    sys.stdout.write(json.dumps({"version": library.TF_Version().decode(), "answers": answers}))


if __name__ == "__main__":
    main(sys.argv[1])
