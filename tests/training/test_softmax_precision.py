"""The precision of softmax losses on processors with and without bfloat16."""

import pytest
import tensorflow as tf

from tfrec_attn import config as configuration
from tfrec_attn.training.softmax_precision import softmax_precision

WITH_AVX, WITHOUT = "flags\t: fpu avx512f avx512_bf16 amx_tile\n", "flags : fpu avx512f\nbugs:\n"
SLOWER = "The device does not multiply bfloat16, so that the softmax is slower than in float32."


def choice(arguments, cpu_info, tmp_path):
    if cpu_info is not None:
        (tmp_path / "cpuinfo").write_text(cpu_info)
    config = configuration.load(None, ["model.name=sasrec", "train.loss=softmax", *arguments])
    return softmax_precision(config, tmp_path / "cpuinfo")


@pytest.mark.parametrize(
    ("cpu_info", "precision", "reason"),
    [
        (WITH_AVX, "bfloat16", "it has AVX512-BF16"),
        ("flags: amx_bf16", "bfloat16", "it has AMX"),
        ("Features : fp asimd bf16", "bfloat16", "it has BF16"),
        (WITHOUT, "float32", "the device does not multiply bfloat16"),
        (None, "float32", "the device does not multiply bfloat16"),
    ],
)
def test_auto_asks_the_processor(cpu_info, precision, reason, tmp_path):
    found = choice(["train.softmax_precision=auto"], cpu_info, tmp_path)
    assert found == (
        precision,
        f"train.softmax_precision=auto is {precision} here: {reason}.",
    )


def test_auto_asks_a_gpu_only_if_it_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    details = {"compute_capability": (8, 0)}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    auto = "train.softmax_precision=auto"
    assert choice([auto], WITHOUT, tmp_path)[0] == "bfloat16"
    devices = ["runtime.strategy=mirrored", "runtime.devices=[CPU:0,CPU:1]"]
    assert choice([auto, *devices], WITHOUT, tmp_path)[0] == "float32"
    details["compute_capability"] = (7, 5)
    assert choice([auto], WITH_AVX, tmp_path)[0] == "float32"


@pytest.mark.parametrize(
    "argument", ["train.softmax_precision=bfloat16", "runtime.precision=mixed_bfloat16"]
)
def test_bfloat16_works_everywhere_and_says_where_it_is_slower(argument, tmp_path):
    assert choice([argument], WITH_AVX, tmp_path) == ("bfloat16", None)
    assert choice([argument], WITHOUT, tmp_path) == ("bfloat16", SLOWER)


@pytest.mark.parametrize("loss", ["squared_distance", "smoothing"])
def test_a_distillation_without_a_softmax_has_no_precision(loss, tmp_path):
    arguments = ["train.loss=bce", "train.softmax_precision=auto", "train.distillation.weight=1"]
    assert choice([*arguments, f"train.distillation.loss={loss}"], WITHOUT, tmp_path)[1] is None
    assert "is float32 here" in choice(arguments, WITHOUT, tmp_path)[1]


@pytest.mark.parametrize("arguments", [[], ["train.loss=bce", "train.softmax_precision=auto"]])
def test_otherwise_nothing_is_said(arguments, tmp_path):
    assert choice(arguments, WITHOUT, tmp_path) == ("float32", None)
