"""A signature of a loaded model: its inputs, its outputs, and the function that runs it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfrec_attn.errors import first_line
from tfrec_attn.runtime.saved_model import tensors_of

from ..protocol.statuses import StatusError, from_number, invalid
from ..protocol.tensors import dtype_of, number_of, type_name

# Most elements of an input, most rows of an input, and most values of all outputs of a request.
MAX_ELEMENTS = 1 << 16
MAX_ROWS = 1 << 10
MAX_OUTPUT_VALUES = 1 << 18


class Signature:
    """A signature that checks and runs requests.

    Args:
        name: Name of the signature in requests.
        definition: A SignatureDef.
        function: Function from the input arrays, in the order of `inputs`, to a list of the output
            arrays, in the order of `outputs`.

    Attributes:
        name: As given.
        inputs, outputs: `Tensor` of each input and output, sorted by name.
    """

    def __init__(self, name: str, definition, function: Callable):
        self.name = name
        self.inputs, self.outputs = tensors_of(definition.inputs), tensors_of(definition.outputs)
        self._taken, self._returned = (
            {name: dtype_of(tensor.dtype.as_datatype_enum) for name, tensor in tensors.items()}
            for tensors in (self.inputs, self.outputs)
        )
        self._function = function

    def check(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Checks names, types and shapes of the inputs.

        Raises:
            StatusError: INVALID_ARGUMENT if an input does not fit; the message names it.
        """
        if inputs.keys() != self.inputs.keys():
            raise self._other_inputs(inputs)
        for name, tensor in self.inputs.items():
            array = inputs[name]
            if array.dtype != self._taken[name]:
                expected = type_name(tensor.dtype.as_datatype_enum)
                number = number_of(array.dtype)
                came = str(array.dtype) if number is None else type_name(number)
                raise self._wrong(name, expected, came)
            if tensor.shape is not None and not _fits(array.shape, tensor.shape):
                sizes = ", ".join("?" if size is None else str(size) for size in tensor.shape)
                raise self._wrong(name, f"of the shape [{sizes}]", str(list(array.shape)))
            # An array without elements can have a large dimension.
            if max(array.size, *array.shape, 0) > MAX_ELEMENTS:
                raise self._wrong(
                    name, f"of at most {MAX_ELEMENTS} elements", str(list(array.shape))
                )
            if array.ndim and len(array) > MAX_ROWS:
                raise self._wrong(name, f"of at most {MAX_ROWS} rows", str(list(array.shape)))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns all outputs for inputs that `check` accepts.

        Raises:
            StatusError: With TensorFlow's code if the function fails.
        """
        try:
            arrays = self._function(*[inputs[name] for name in self.inputs])
        except Exception as error:
            # 13 is INTERNAL, for exceptions that are not TensorFlow's.
            code = from_number(getattr(error, "error_code", 13))
            raise StatusError(
                code, f"signature {self.name} failed: {first_line(error)}."
            ) from error
        # TensorFlow returns scalars as NumPy numbers or bytes.
        return {
            name: np.asarray(array, dtype)
            for (name, dtype), array in zip(self._returned.items(), arrays, strict=True)
        }

    def chosen(self, names: Sequence[str]) -> Sequence[str]:
        """Returns the names of the outputs of a request, which are all if it names none.

        Raises:
            StatusError: INVALID_ARGUMENT if an output is unknown or named twice, or its type cannot
                be sent.
        """
        for place, name in enumerate(names):
            if name not in self.outputs:
                listed = ",".join(self.outputs)
                raise invalid(
                    f"output tensor alias not found in signature: {name} Outputs expected to be in "
                    f"the set {{{listed}}}."
                )
            if name in names[:place]:
                raise invalid(f"duplicate output tensor alias: {name}; name it once.")
        chosen = names or tuple(self.outputs)
        for name in chosen:
            if self._returned[name] is None:
                kind = type_name(self.outputs[name].dtype.as_datatype_enum)
                raise invalid(
                    f"output {name} has the type {kind}, which cannot be sent; ask for others."
                )
        return chosen

    def _wrong(self, name: str, expected: str, came: str) -> StatusError:
        return invalid(f"input {name} of signature {self.name} must be {expected}, but is {came}.")

    def _other_inputs(self, inputs: Mapping[str, np.ndarray]) -> StatusError:
        sent, own = sorted(inputs), sorted(self.inputs)
        extra, missing = sorted(set(sent) - set(own)), sorted(set(own) - set(sent))
        if len(sent) == len(own):
            return invalid(
                f"input tensor alias not found in signature: {extra[0]}. Inputs expected to be in "
                f"the set {{{','.join(own)}}}."
            )
        return invalid(
            f"input size does not match signature: {len(sent)}!={len(own)} "
            f"len({{{','.join(sent)}}}) != len({{{','.join(own)}}}). "
            f"Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}."
        )


def check_size(outputs: Mapping[str, np.ndarray]) -> None:
    """Checks the size of a response, because a large one takes long to write.

    Args:
        outputs: Outputs of the request.

    Raises:
        StatusError: INVALID_ARGUMENT if the outputs have more than `MAX_OUTPUT_VALUES` values.
    """
    size = sum(array.size for array in outputs.values())
    if size > MAX_OUTPUT_VALUES:
        raise invalid(
            f"The response would have {size} values, but may have at most {MAX_OUTPUT_VALUES}; "
            "ask for fewer rows, or name fewer outputs."
        )


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        want is None or size == want for size, want in zip(shape, expected, strict=True)
    )
