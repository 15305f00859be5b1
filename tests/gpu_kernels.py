"""What a graph would do on the host beside a GPU, from TensorFlow's registry of kernels."""

import tensorflow as tf
from tensorflow.python.framework import kernels

# A placeholder is where its user puts it, and functions and control flow are looked into.
_ANYWHERE = {"Placeholder", "NoOp", "Const", "_EagerConst"}
# The batch comes from the host, and shapes are there.
_OF_HOST = {"IteratorGetNext", "Assert", "BroadcastGradientArgs"}


def on_the_host(graph):
    """Returns the operations without a GPU kernel, and those with large tensors in host memory.

    A vector of known size is small: it is a shape, or has a number for each example at most.

    Args:
        graph: A `FuncGraph`; the functions that it calls are looked into.
    """
    found = []
    for op in graph.get_operations():
        inner = [
            graph._get_function(name).graph
            for attribute in op.node_def.attr.values()
            for name in ([attribute.func.name] if attribute.func.name else [])
        ]
        for one in inner:
            found += on_the_host(one)
        if not inner and op.type not in _ANYWHERE | _OF_HOST:
            found += _of(op)
    return sorted(set(found))


def _of(op):
    usable = [
        kernel
        for kernel in kernels.get_registered_kernels_for_op(op.type).kernel
        if kernel.device_type in ("GPU", "DEFAULT") and _takes(kernel, op)
    ]
    if not usable:
        return [f"{op.type} {op.name}"]
    host = set.intersection(*(set(kernel.host_memory_arg) for kernel in usable))
    tensors = [
        *_named(op.op_def.input_arg, op.inputs, op),
        *_named(op.op_def.output_arg, op.outputs, op),
    ]
    return [
        f"{op.type} {op.name}: {name}"
        for name, tensor in tensors
        if name in host - {"reduction_indices"}
        and tensor.dtype != tf.resource
        and _is_large(tensor.shape)
    ]


def _is_large(shape):
    if shape.is_fully_defined() and shape.rank == 2 and shape[0] <= 4 and shape[1] <= 2:
        return False  # What `tf.pad` adds to each axis.
    return shape.rank is None or shape.rank > 1 or (shape.rank == 1 and shape[0] is None)


def _takes(kernel, op):
    allowed = {one.name: one.allowed_values.list for one in kernel.constraint}
    values = {name: op.get_attr(name) for name in allowed}
    return all(
        value in allowed[name].s
        if isinstance(value, bytes)
        else value.as_datatype_enum in allowed[name].type
        for name, value in values.items()
    )


def _named(arguments, tensors, op):
    """Pairs each tensor with the argument that it belongs to."""
    names = []
    for argument in arguments:
        if argument.type_list_attr:
            count = len(op.get_attr(argument.type_list_attr))
        else:
            count = op.get_attr(argument.number_attr) if argument.number_attr else 1
        names += [argument.name] * count
    return zip(names, tensors, strict=True)
