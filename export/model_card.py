"""Writes the model card of a version: its data, quality, size and latency."""

import json
import os
import platform
import time
from pathlib import Path, PureWindowsPath

import numpy as np
import polars as pl
import tensorflow as tf

import tfrec_attn
from tfrec_attn import config as configuration
from tfrec_attn.evaluation.protocol import protocol
from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.replay.measured_run import read_events, read_report
from tfrec_attn.runs import run
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.runtime.saved_model import Tensor

from .model_card_text import markdown

JSON = "assets.extra/model_card.json"
MARKDOWN = "assets.extra/README.md"
# The parts of metrics.json that the card needs, as `read_report` checks them.
_NEEDED = {
    "valid": {"*": 0},
    "test": {"*": 0},
    "baselines": {"*": {"*": 0}},
    "data": {"after": dict.fromkeys(("users", "items", "events"), 0)},
    **dict.fromkeys(("parameters", "best_epoch", "epochs", "train_seconds"), 0),
}
_UNTIMED, _TIMED = 50, 200
# Keys whose texts may have a slash but are no paths: names of columns and types of events.
_NO_PATHS = ("columns", "names", "event_types", "event_weights")


def write_card(
    folder: str | Path, run_folder: str | Path, *, name: str, version: int, serving: dict
) -> dict:
    """Measures the latency of a version, and writes README.md and model_card.json to assets.extra.

    Args:
        folder: Folder of the version, a SavedModel.
        run_folder: The run that it was exported from.
        name: Name of the model in TF Serving.
        version: Number of the version.
        serving: Settings of the export: "max_length", "k", "max_k", "keep_seen", "separator",
            "index" and "matrix". The last two describe the index and the compact item matrix, or
            are None.

    Returns:
        The content of model_card.json: name, version, model, data, protocol, repeats, metrics,
        baselines, sizes, signatures, serving, latency_ms, versions and training.

    Raises:
        ConfigError: If the run or the folder cannot be used.
    """
    folder, run_folder = Path(folder), Path(run_folder)
    loaded, report = run.load_config(run_folder), read_report(run_folder, _NEEDED)
    config = without_paths(configuration.to_dict(loaded))
    events = read_events(run_folder).head(_TIMED)
    signatures, latency, example = _try_out(folder, events, serving["max_length"] + 1)
    data, files = config["data"], [path for path in folder.rglob("*") if path.is_file()]
    sha256 = report["data"].get("sha256")
    counts = {key: report["data"]["after"][key] for key in ("users", "items", "events")}
    card = {
        "name": name,
        "version": version,
        "model": {
            "name": config["model"]["name"],
            "parameters": {k: v for k, v in config["model"].items() if k != "name"},
        },
        "data": {
            "source": data["path"] or data["source"],
            "sha256": sha256,
            **counts,
            "untrained": run.load_trained_rows(run_folder).missing(),
        },
        "protocol": report.get("protocol") or protocol(loaded, sha256),
        "repeats": report.get("repeats"),
        "metrics": {
            key: report[key] for key in ("test", "test_interval", "valid") if key in report
        },
        "baselines": report["baselines"],
        "sizes": {
            "parameters": report["parameters"],
            "bytes": sum(p.stat().st_size for p in files if "assets.extra" not in p.parts),
            "items": counts["items"],
        },
        "signatures": signatures,
        "serving": serving,
        "latency_ms": latency,
        "versions": {
            "tensorflow": tf.__version__,
            "tfrec_attn": tfrec_attn.__version__,
            "python": platform.python_version(),
        },
        "training": {
            **{key: report[key] for key in ("best_epoch", "epochs", "train_seconds")},
            "config": config,
        },
    }
    (folder / JSON).parent.mkdir(exist_ok=True)
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / JSON).write_text(text, encoding="utf-8")
    (folder / MARKDOWN).write_text(markdown(card, example), encoding="utf-8")
    return card


def without_paths(value: object) -> object:
    """Shortens every path in a configuration to its last part, which hides the machine's folders.

    Args:
        value: Nested dictionaries and lists as from `tfrec_attn.config.to_dict`.

    Returns:
        A copy. A text with a slash or backslash counts as a path, except names of columns and types
        of events.
    """
    if isinstance(value, dict):
        return {key: one if key in _NO_PATHS else without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        # PureWindowsPath splits at both slashes.
        return PureWindowsPath(value).name
    return value


def _try_out(
    folder: Path, events: pl.DataFrame, columns: int
) -> tuple[dict[str, dict], dict[str, object], list[str]]:
    """(the signatures of a version, its latency, three popular items for an example request)."""
    with Runner(folder) as runner:
        signatures = {
            name: {"inputs": _described(inputs), "outputs": _described(outputs)}
            for name, (inputs, outputs) in runner.signatures.items()
        }
        latency = _latency(runner, events, columns)
        # A request without a history gets the popular items.
        popular = runner.run("serving_default", user_id=[""], history=[[""]])["items"][0]
    return signatures, latency, sorted((item.decode() for item in popular if item), key=len)[:3]


def _described(tensors: dict[str, Tensor]) -> dict[str, dict]:
    return {
        name: {"dtype": tensor.dtype.name, "shape": list(tensor.shape)}
        for name, tensor in tensors.items()
    }


def _latency(runner: Runner, events: pl.DataFrame, columns: int) -> dict[str, object]:
    """Milliseconds of `serving_default` for one user at a time, in this process."""
    requests = [
        {"user_id": np.array([user], object), "history": padded([history], columns)}
        for user, history, _ in events.rows()
    ]
    times = []
    for number in range(_UNTIMED + _TIMED):
        begin = time.perf_counter()
        runner.run("serving_default", **requests[number % len(requests)])
        times.append(1000 * (time.perf_counter() - begin))
    p50, p99 = np.percentile(times[_UNTIMED:], [50, 99])
    return {
        "p50": round(float(p50), 3),
        "p99": round(float(p99), 3),
        "batch": 1,
        "columns": columns,
        "requests": _TIMED,
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
