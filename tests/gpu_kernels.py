"""What a graph would do on the host beside a GPU, from TensorFlow's registry of kernels."""

from tensorflow.python.framework import kernels

_ANYWHERE = {"Placeholder", "NoOp", "PartitionedCall", "StatefulPartitionedCall", "While", "If"}


def on_the_host(graph, rank=1):
    """Returns the operations without a GPU kernel, and those with large tensors in host memory.

    Args:
        graph: A `FuncGraph`.
        rank: Tensors of more axes count as large.
    """
    found = []
    for op in graph.get_operations():
        if op.type in _ANYWHERE:
            continue
        usable = [
            kernel
            for kernel in kernels.get_registered_kernels_for_op(op.type).kernel
            if kernel.device_type in ("GPU", "DEFAULT") and _takes(kernel, op)
        ]
        if not usable:
            found.append(f"{op.type} {op.name}")
            continue
        host = set.intersection(*(set(kernel.host_memory_arg) for kernel in usable))
        tensors = [
            *_named(op.op_def.input_arg, op.inputs, op),
            *_named(op.op_def.output_arg, op.outputs, op),
        ]
        found += [
            f"{op.type} {op.name}: {name}"
            for name, tensor in tensors
            if name in host and (tensor.shape.rank is None or tensor.shape.rank > rank)
        ]
    return found


def _takes(kernel, op):
    return all(
        op.get_attr(one.name).as_datatype_enum in one.allowed_values.list.type
        for one in kernel.constraint
    )


def _named(arguments, tensors, op):
    """Pairs each tensor with the argument that it belongs to."""
    names = []
    for argument in arguments:
        count = op.get_attr(argument.number_attr) if argument.number_attr else 1
        names += [argument.name] * count
    return zip(names, tensors, strict=False)
