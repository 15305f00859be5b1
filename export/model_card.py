"""Writes the model card of a version: its data, quality, size and latency, and how to call it."""

import json
import os
import platform
import shlex
import time
from pathlib import Path, PureWindowsPath

import numpy as np
import polars as pl
import tensorflow as tf
import yaml

import tfrec_attn
from tfrec_attn import config as configuration
from tfrec_attn.data.sequences.trained_rows import missing_text
from tfrec_attn.evaluation.protocol import protocol
from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.replay.measured_run import read_events, read_report
from tfrec_attn.runs import run
from tfrec_attn.runtime.runner import Runner
from tfrec_attn.runtime.saved_model import Tensor

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
_UNTIMED, _TIMED = 50, 200
# Names and kinds of columns and events, which may have a slash.
_NO_PATHS = ("columns", "names", "event_types", "event_weights")


def write_card(
    folder: str | Path, run_folder: str | Path, *, name: str, version: int, serving: dict
) -> dict:
    """Measures the latency of a version, and writes its README.md and model_card.json.

    Both files go into assets.extra.

    Args:
        folder: The SavedModel.
        run_folder: The run that it comes from.
        name: Name of the model in TF Serving.
        version: Its number.
        serving: How it was exported: "max_length", "k", "max_k", "keep_seen", "separator" and
            "index", which is a description of the index, or None where all items are scored.

    Returns:
        What model_card.json holds: name, version, model, data, protocol, repeats, metrics,
        baselines, sizes, signatures, serving, latency_ms, versions and training.

    Raises:
        ConfigError: If the run or the folder cannot be used.
    """
    folder, run_folder = Path(folder), Path(run_folder)
    loaded, report = run.load_config(run_folder), read_report(run_folder, _NEEDED)
    config = without_paths(configuration.to_dict(loaded))
    events = read_events(run_folder).head(_TIMED)
    with Runner(folder) as runner:
        signatures = {
            signature: {"inputs": _described(inputs), "outputs": _described(outputs)}
            for signature, (inputs, outputs) in runner.signatures.items()
        }
        latency = _latency(runner, events, serving["max_length"] + 1)
        # Without a history the response is the popular items.
        popular = runner.run("serving_default", user_id=[""], history=[[""]])["items"][0]
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
    example = sorted((item.decode() for item in popular if item), key=len)[:3]
    (folder / MARKDOWN).write_text(markdown(card, example), encoding="utf-8")
    return card


def without_paths(value: object) -> object:
    """Shortens every path in a configuration to its last part, so that it shows no machine.

    Args:
        value: Nested dictionaries and lists as from `tfrec_attn.config.to_dict`.

    Returns:
        A copy. Every text with a slash or backslash counts as a path.
    """
    if isinstance(value, dict):
        return {key: one if key in _NO_PATHS else without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        # Paths of Windows have both slashes.
        return PureWindowsPath(value).name
    return value


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


# --- As Markdown ---

_SPLITS = {
    "leave-one-out": "The last event of each user is the test event, the one before it the "
    "validation event, and all earlier ones are training events.",
    "temporal": "Events before {valid_from} (a date, or a share of all events) are training "
    "events. The first event of a user from then on is their validation event, and their first "
    "event from {test_from} on is their test event.",
}


def markdown(card: dict, example: list[str]) -> str:
    """Returns the README.md of a version.

    Args:
        card: What `write_card` writes to model_card.json.
        example: Some items, for the request that is shown.
    """
    model, training, sizes = card["model"], card["training"], card["sizes"]
    latency, versions = card["latency_ms"], card["versions"]
    parameters = ", ".join(f"{key}={json.dumps(one)}" for key, one in model["parameters"].items())
    config = yaml.safe_dump(training["config"], sort_keys=False, allow_unicode=True).rstrip()
    return f"""# {card["name"]}, version {card["version"]}

Recommends the next items to a user from the ids of the items in their history.

Model `{model["name"]}`{f" with {parameters}" if parameters else ""}.

## Quality

{_quality(card)}

## Data and test

{_data(card)}

## How to call it

{_calling(card, example)}

## Signatures

{_signatures(card["signatures"])}

## Size and speed

{sizes["parameters"]:,} trained parameters, {sizes["items"]:,} items, \
{sizes["bytes"]:,} bytes on disk.

`serving_default` for one user takes {latency["p50"]} ms (median of {latency["requests"]}; \
99 %: {latency["p99"]} ms) in process, measured at export on {latency["cpus"]} CPUs \
({latency["processor"]}) with TensorFlow {versions["tensorflow"]}.

## Training

Epoch {training["best_epoch"]} of {training["epochs"]}, in {training["train_seconds"]:.0f} s, \
by tfrec-attn {versions["tfrec_attn"]}:

```yaml
{config}
```
"""


def _quality(card: dict) -> str:
    metrics = card["metrics"]
    rows = {**card["baselines"], card["model"]["name"]: metrics["test"]}
    lines = [
        [name, *(f"{values[metric]:.4f}" for metric in metrics["test"])]
        for name, values in rows.items()
    ]
    if "test_interval" in metrics:
        ends = [metrics["test_interval"][metric] for metric in metrics["test"]]
        lines.append(["95 % interval", *(f"{low:.4f} to {high:.4f}" for low, high in ends)])
    return _table(["test", *metrics["test"]], lines)


def _data(card: dict) -> str:
    data, rules = card["data"], card["protocol"]
    filters, untrained = rules["filters"], data["untrained"]
    if rules["repeats"] == "exclude":
        repeats = (
            " except those of the user's history; a test item that is in the history is a miss."
        )
    else:
        repeats = ", including those of the user's history."
    if card["repeats"] is not None:
        repeats += f" {card['repeats']['test']:.1%} of the test items are in their user's history."
    return (
        f"{data['source']}: {data['events']:,} events of {data['users']:,} users with "
        f"{data['items']:,} items, after removing users with fewer than "
        f"{filters['min_user_events']} and items with fewer than {filters['min_item_events']} "
        f"events. SHA-256 of the prepared events: `{data['sha256']}`."
        f"{f' {missing_text(untrained)}' if any(untrained.values()) else ''}\n\n"
        f"{_SPLITS[rules['split']].format(**rules)} "
        f"Each test item is ranked against {rules['ranked_against']}{repeats} "
        f"Ties count {rules['ties']}; metrics are means over test events"
        f"{', with bootstrap intervals' if 'test_interval' in card['metrics'] else ''}. "
        f"Protocol `{rules['hash']}`."
    )


def _calling(card: dict, history: list[str]) -> str:
    serving = card["serving"]
    separator, index = serving["separator"], serving["index"]
    row = {"user_id": "", "history": separator.join(history)}
    body = json.dumps(
        {"signature_name": "serving_default_joined", "instances": [row]}, ensure_ascii=False
    )
    about = ", ".join(f"{key} {value}" for key, value in (index or {}).items())
    return (
        f"```sh\ncurl -d {shlex.quote(body)} "
        f"http://localhost:8501/v1/models/{card['name']}:predict\n```\n\n"
        "- In the signatures named `..._joined` a `history` is one text: its ids, the oldest "
        f"first, with {'the tab' if separator == chr(9) else f'`{separator}`'} between them. "
        "`exclude`, `allow` and `candidates` are joined in the same way; the empty text is an "
        "empty list. A server can batch any of these requests. Responses are as wide as the "
        "longest row of a batch: read as many columns as your row has ids.\n"
        "- In the other signatures a `history` is a row of ids. Give all requests of a client the "
        f"same number of columns ({serving['max_length'] + 1} is enough), with at least one "
        '`""` on the left: a server that pads rows repeats the first id of a row at its end, as '
        "if it were the newest event.\n"
        "- Unknown ids are ignored. An unknown user is served from the history. If nothing is "
        "known, the response is the most popular items, with `popular` as `source`.\n"
        f"- `serving_default` returns {serving['k']} items, `recommend` up to "
        f"{serving['max_k']}: its output `k` is the k that was applied. If fewer items are left, "
        'the rest is `""` with the lowest float as score. Items of the history '
        f"{'may' if serving['keep_seen'] else 'are not'} "
        f"{'be recommended' if serving['keep_seen'] else 'recommended'}. "
        f"{f'Items are found by an index ({about}).' if index else 'All items are scored.'}"
    )


def _signatures(signatures: dict) -> str:
    def listed(tensors):
        shapes = {
            name: ", ".join("?" if size is None else str(size) for size in one["shape"])
            for name, one in tensors.items()
        }
        return ", ".join(
            f"`{name}` {one['dtype']} [{shapes[name]}]" for name, one in tensors.items()
        )

    return _table(
        ["signature", "inputs", "outputs"],
        [
            [f"`{name}`", listed(one["inputs"]), listed(one["outputs"])]
            for name, one in signatures.items()
        ],
    )


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
