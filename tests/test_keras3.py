"""The core of the tests again in a process that chose Keras 3; all of them that hold there with
`TFREC_KERAS3=all`.
"""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LAYERS = REPOSITORY / "tests" / "layers"
CONTRACT = "tests/models/test_contract.py::"
# Its other tests are those of arithmetic, and take as long as all other layers.
ATTENTION = "tests/layers/test_multi_query_self_attention.py"
CORE = [
    *sorted({f"tests/layers/{path.name}" for path in LAYERS.glob("test_*.py")} - {ATTENTION}),
    f"{ATTENTION}::test_saved_functional_model_gives_the_same",
    "tests/losses/test_losses.py",
    "tests/evaluation/test_metrics.py",
    "tests/keras_versions",
    "tests/runs/test_weights.py::test_each_weight_has_one_name",
    "tests/runs/test_weights.py::test_names_by_hand",
    "tests/runs/test_weights.py::test_names_of_the_state_by_hand",
    "tests/runs/test_weights.py::test_the_state_of_the_optimizer_comes_back[adam]",
    "tests/models/test_several_steps.py",
    "tests/models/test_keras.py::test_the_callbacks_of_keras[sasrec]",
    f"{CONTRACT}test_every_variable_gets_a_gradient",
    f"{CONTRACT}test_several_replicas_train_as_one[sasrec-2-sampled_softmax-options4]",
    f"{CONTRACT}test_evaluation_is_the_same_on_two_replicas_of_which_one_has_no_last_batch[attrec]",
    "tests/training/test_validated_weights.py::test_the_average_of_the_steps[lazy_adam]",
    "tests/training/test_validated_weights.py::test_averages_start_at_the_weights",
    "tests/training/test_transfer.py::test_slots_by_hand",
    "tests/runtime/test_precision.py::test_loss_scaling_is_the_same_on_one_and_two_replicas",
]
ALL = [
    "tests/layers",
    "tests/losses",
    "tests/evaluation",
    "tests/keras_versions",
    "tests/optimizers",
    "tests/models",
    "tests/runtime",
    "tests/runs",
    "tests/training",
    "tests/export",
    "tests/lists",
    "tests/extensions",
    "tests/replay",
    "tests/studies",
    "tests/test_average.py",
    "tests/test_train_command.py",
    "tests/test_finished_run.py",
    "tests/test_adding_a_model.py",
]


def test_the_core_holds_under_keras_3():
    paths = ALL if os.environ.get("TFREC_KERAS3") == "all" else CORE
    # Options and the worker's identity belong to this session of pytest, not to the one inside.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    process = subprocess.run(
        [sys.executable, "-m", "pytest", *paths, "-q", "-p", "no:cacheprovider"],
        cwd=REPOSITORY,
        env={**environment, "TF_USE_LEGACY_KERAS": "0", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert process.returncode == 0, process.stdout + process.stderr
