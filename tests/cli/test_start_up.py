"""What commands load before they know what to do: help and wrong options cost no TensorFlow."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("tensorflow", "tf_keras", "keras", "tensorflow_recommenders", "tensorflow_serving", "grpc")


def commands():
    """Modules of the three packages that run as commands, by their files."""
    for package in ("tfrec_attn", "export", "serving"):
        for path in sorted((ROOT / package).rglob("*.py")):
            linked = path.relative_to(ROOT).parts[1] in ("export", "serving")
            if not linked and '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8"):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_commands_load_without_tensorflow():
    names = list(commands())
    assert {"tfrec_attn.train", "export.__main__", "serving.client"} <= set(names)
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    print(name, *(one for one in {HEAVY} if one in sys.modules))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == names


def test_a_wrong_option_is_refused_without_tensorflow():
    code = """
import sys
from tfrec_attn.train import main
code = main(["model.name=sasrec", "train.batch_size=none", "run_dir=run"])
print(code, "tensorflow" in sys.modules)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "2 False\n"
    assert re.fullmatch(r"error: .*train\.batch_size.*\n", ended.stderr)
