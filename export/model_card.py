"""What a version is, for those who serve it: its data, how it was tested, how large and how fast it
is, and how to call it.
"""

import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf

import tfrec_attn
from tfrec_attn import config as configuration
from tfrec_attn.evaluation.protocol import protocol
from tfrec_attn.runs import run

from .card_text import markdown
from .example import popular_items
from .replay import padded, read_events, read_metrics
from .session import Session, Tensor
from .shared_config import without_paths

JSON = "assets.extra/model_card.json"
MARKDOWN = "assets.extra/README.md"
# What is read of metrics.json.
_NEEDED = {
    "valid": {"*": 0},
    "test": {"*": 0},
    "baselines": {"*": {"*": 0}},
    "data": {"after": dict.fromkeys(("users", "items", "events"), 0)},
    **dict.fromkeys(("parameters", "best_epoch", "epochs", "train_seconds"), 0),
}
_WARM, _REQUESTS, _POPULAR = 50, 200, 20


def write_card(
    folder: str | Path, run_folder: str | Path, *, name: str, version: int, facts: dict
) -> dict:
    """Writes README.md and model_card.json into assets.extra of a version, and measures the latency
    that they tell.

    Args:
      folder: of the SavedModel.
      run_folder: the run that it comes from.
      name: of the model in TF Serving.
      version: its number.
      facts: how it was exported: "max_length", "k", "max_k", "keep_seen", "separator", and "index":
        None where every item is scored, else what the index is, a dictionary; everything else is
        kept as it is.

    Returns: what model_card.json holds: name, version, model, data, protocol, repeats, metrics,
    baselines, sizes, signatures, serving (the facts), latency_ms, versions and training.

    Errors: ServableError and ConfigError when folder or run cannot be used.
    """
    folder, loaded, report = (
        Path(folder),
        run.load_config(run_folder),
        read_metrics(run_folder, _NEEDED),
    )
    config = without_paths(configuration.to_dict(loaded))
    events = read_events(run_folder).head(_REQUESTS)
    with Session(folder) as session:
        signatures = {
            signature: {"inputs": _described(inputs), "outputs": _described(outputs)}
            for signature, (inputs, outputs) in session.signatures.items()
        }
        latency = _latency(session, events, facts["max_length"] + 1)
        popular, _ = popular_items(session, _POPULAR)
    counts = {key: report["data"]["after"][key] for key in ("users", "items", "events")}
    card = {
        "name": name,
        "version": version,
        "model": {
            "name": config["model"]["name"],
            "parameters": {k: v for k, v in config["model"].items() if k != "name"},
        },
        "data": {
            "source": _source(config["data"]),
            "sha256": report["data"].get("sha256"),
            **counts,
            "untrained": run.load_trained_rows(Path(run_folder)).missing(),
        },
        "protocol": report.get("protocol") or protocol(loaded, report["data"].get("sha256")),
        "repeats": report.get("repeats"),
        "metrics": {
            key: report[key] for key in ("test", "test_interval", "valid") if key in report
        },
        "baselines": report["baselines"],
        "sizes": {
            "parameters": report["parameters"],
            "bytes": _bytes(folder),
            "items": counts["items"],
        },
        "signatures": signatures,
        "serving": facts,
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
    (folder / JSON).write_text(
        json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / MARKDOWN).write_text(markdown(card, sorted(popular, key=len)[:3]), encoding="utf-8")
    return card


def _described(tensors: dict[str, Tensor]) -> dict[str, dict]:
    return {
        name: {"dtype": tensor.dtype.name, "shape": list(tensor.shape)}
        for name, tensor in tensors.items()
    }


def _source(data: dict) -> str:
    return Path(data["path"]).name if data["path"] else data["source"]


def _bytes(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and "assets.extra" not in path.parts
    )


def _latency(session: Session, events: pl.DataFrame, columns: int) -> dict[str, object]:
    """Milliseconds of `serving_default` for one user at a time, in this process, after some
    requests that do not count.
    """
    requests = [
        {"user_id": [user], "history": padded([history], columns)}
        for user, history, _ in events.rows()
    ]
    requests = [
        {name: np.asarray(value, object) for name, value in request.items()} for request in requests
    ]
    times = []
    for number in range(_WARM + _REQUESTS):
        begin = time.perf_counter()
        session.run("serving_default", **requests[number % len(requests)])
        times.append(1000 * (time.perf_counter() - begin))
    p50, p99 = np.percentile(times[_WARM:], [50, 99])
    measured = {
        "p50": round(float(p50), 3),
        "p99": round(float(p99), 3),
        "batch": 1,
        "columns": columns,
        "requests": _REQUESTS,
    }
    return {**measured, "cpus": len(os.sched_getaffinity(0)), "processor": _processor()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
