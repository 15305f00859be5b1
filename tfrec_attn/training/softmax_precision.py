"""The precision of the matrix products of softmax losses on the device of a training."""

from pathlib import Path

import tensorflow as tf

from tfrec_attn.config import Config, loss_names

# Flags by which Linux marks processors that multiply bfloat16, on x86-64 and on ARM.
_FLAGS = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX", "bf16": "BF16"}


def softmax_precision(
    config: Config, cpu_info: Path = Path("/proc/cpuinfo")
) -> tuple[str, str | None]:
    """Returns "float32" or "bfloat16", and a sentence about the choice, or None.

    Args:
        config: The configuration.
        cpu_info: File in which Linux describes the processor.
    """
    if not _has_softmax(config):
        return "float32", None
    chosen, native = config.train.softmax_precision, _native(config, cpu_info)
    if chosen == "auto":
        precision = "float32" if native is None else "bfloat16"
        found = "the device does not multiply bfloat16" if native is None else f"it has {native}"
        return precision, f"train.softmax_precision=auto is {precision} here: {found}."
    if chosen == "float32" and config.runtime.precision != "mixed_bfloat16":
        return "float32", None
    if native is not None:
        return "bfloat16", None
    return "bfloat16", (
        "The device does not multiply bfloat16, so that the softmax is slower than in float32."
    )


def _has_softmax(config):
    """Returns whether the loss or the distillation has a softmax with this setting."""
    train, distillation = config.train, config.train.distillation
    if "softmax_precision" in loss_names.get(train.loss).keywords.values():
        return True
    return distillation.weight > 0 and distillation.loss == "cross_entropy"


def _native(config, cpu_info):
    """Returns the feature by which the device of a training multiplies bfloat16, or None."""
    devices = config.runtime.devices
    uses_gpu = devices is None or any(one.upper().startswith("GPU") for one in devices)
    for device in tf.config.list_physical_devices("GPU") if uses_gpu else ():
        capability = tf.config.experimental.get_device_details(device).get("compute_capability")
        return "a GPU for it" if capability is None or capability >= (8, 0) else None
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = {
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()
    }
    return next((name for flag, name in _FLAGS.items() if flag in flags), None)
