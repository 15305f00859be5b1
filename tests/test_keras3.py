"""The layers, losses and metrics also work in a user's Keras 3 model: their own tests run again in
a process that chose Keras 3.
"""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def test_layers_losses_and_metrics_pass_their_tests_under_keras_3():
    paths = [
        "tests/layers",
        "tests/losses/test_losses.py",
        "tests/losses/test_catalogue_losses.py",
        "tests/evaluation/test_metrics.py",
    ]
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
        timeout=900,
    )
    assert process.returncode == 0, process.stdout + process.stderr
