"""Measures training, evaluation and exports on GPUs, and compares weights with those of a CPU.

    python -m benchmarks.gpu [--models sasrec attrec] [--devices GPU:0 GPU:1] [--json FILE]

Each model trains with its recommended settings on random histories, in batches of --batch-size.
`MirroredStrategy` uses 1, 2, ... of the devices, by default up to all GPUs. Rates are examples
(windows or sequences) a second. `bfloat16` and `float16` are mixed precision on the first device.

- `weights`: largest difference between the weights after 3 steps on all devices and on a CPU,
  relative to the largest change of the same variable. The steps have no dropout, Adagrad, and
  float32 products without TF32. If it is above 0.01, the exit code is 1.
- `input`: share of a step on the first device that is spent waiting for the input. It compares the
  time with a stream of batches with the time with one repeated batch.
- `idle`: share of the time in which the profiler saw no kernel on the first device.
- `memory`: peak memory of the first device, in MB.
- `ranked`: users a second whose held-out item is ranked among all items.

The lines of the exports have the median latency of `serving_default`, for 1 and 64 histories.
Without a GPU the exit code is 2.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from _machine import add_json, seconds_of, write_json

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.cli.arguments import require_at_least
from tfrec_attn.config import Config, Runtime
from tfrec_attn.errors import ConfigError
from tfrec_attn.runtime.process import import_tensorflow, seed_everything, set_precision

TOLERANCE, COMPARED_STEPS = 0.01, 3
PRECISIONS = {"bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
COLUMNS = ("weights", "input", "idle", "memory", "ranked")
HISTORIES, REQUESTS = (1, 64), 50
ADAGRAD = ["train.optimizer=adagrad", "train.learning_rate=0.05", "train.warmup_steps=0"]


def main(arguments: list[str] | None = None) -> int:
    """Prints the tables and writes the figures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [name for name in models.names() if models.trains_on(name) != models.COUNTS]
    parser.add_argument("--models", nargs="+", choices=known, default=known, metavar="MODEL")
    parser.add_argument("--exported", nargs="*", choices=known, default=["attrec", "sasrec"])
    parser.add_argument("--devices", nargs="+", help="such as GPU:0; default: all GPUs")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=200, help="timed steps of each rate")
    add_json(parser)
    parsed = parser.parse_args(arguments)
    try:
        require_at_least(1, parsed, "batch_size", "items", "users", "steps")
        tf = import_tensorflow()
        devices = _devices(tf, parsed.devices, parsed.batch_size)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    split = random_split(parsed.users, parsed.items)
    figures = {"devices": _described(tf, devices), "models": {}, "exports": {}}
    rates = [*(f"{count} x" for count in range(1, len(devices) + 1)), *PRECISIONS]
    print(f"TensorFlow {tf.__version__}; {', '.join(figures['devices'])}\n")
    print(f"{'examples/s':<12}" + "".join(f"{one:>10}" for one in (*rates, *COLUMNS)))
    for name in parsed.models:
        measured = measure(tf, name, split, devices, parsed.batch_size, parsed.steps)
        figures["models"][name] = measured
        values = (*measured["examples"].values(), *(measured[one] for one in COLUMNS))
        print(f"{name:<12}" + "".join(map(_shown, values)), flush=True)
    for name in parsed.exported:
        measured = latencies(tf, name, split, devices[0])
        figures["exports"][name] = measured
        shown = (f"{device} {ms}" for device, ms in measured.items())
        print(f"\nexport of {name}, ms for {HISTORIES} histories: {', '.join(shown)}")
    if parsed.json:
        write_json(parsed.json, figures)
    return int(any(one["weights"] > TOLERANCE for one in figures["models"].values()))


def _devices(tf, names: list[str] | None, batch_size: int) -> list[str]:
    """Returns the names of the devices; without `names`, of all GPUs.

    Raises:
        ConfigError: If a name is invalid, a device is missing, there is no GPU, or a device would
            get no example.
    """
    from tfrec_attn.runtime.distribution import configure_devices, make_strategy

    if names:
        key = f"runtime.devices={json.dumps(names)}"
        names = configuration.load(None, ["runtime.strategy=mirrored", key]).runtime.devices
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    configure_devices(names)
    names = names or [f"GPU:{number}" for number in range(len(gpus))]
    if not names:
        raise ConfigError(
            "This benchmark needs a GPU that TensorFlow can use, but there is none; "
            "install the extra gpu, or name other devices by --devices."
        )
    if batch_size < len(names):
        raise ConfigError(
            f"--batch-size must be at least the number of devices, {len(names)}, "
            f"but is {batch_size}."
        )
    make_strategy(Runtime(strategy="mirrored", devices=names))
    return names


def _described(tf, devices: list[str]) -> list[str]:
    """Returns the devices with the names of their processors."""
    details = {
        f"GPU:{number}": tf.config.experimental.get_device_details(gpu).get("device_name", "")
        for number, gpu in enumerate(tf.config.list_physical_devices("GPU"))
    }
    return [f"{one} {details.get(one, '')}".strip() for one in devices]


def _shown(value: float | None) -> str:
    if value is None:
        return f"{'-':>10}"
    return f"{value:>10,.0f}" if value >= 10 else f"{value:>10.2g}"


def random_split(users: int, items: int, events: int = 60) -> Any:
    """Returns a leave-one-out split of random histories, whose popularity follows Zipf's law."""
    from tfrec_attn.data.sequences.encoding import Sequences
    from tfrec_attn.data.sequences.splits import leave_one_out
    from tfrec_attn.data.sequences.vocabulary import Vocabulary

    random = np.random.default_rng(1)
    share = 1.0 / np.arange(1, items + 1)
    history = random.choice(items, users * events, p=share / share.sum()).astype(np.int32) + 1
    offsets = events * np.arange(users + 1, dtype=np.int64)
    names = (
        Vocabulary([f"{kind}{one}" for one in range(1, count + 1)])
        for kind, count in (("u", users), ("i", items))
    )
    return leave_one_out(Sequences(history, offsets, np.arange(users * events), *names))


class Training:
    """A compiled model on some devices, and its stream of batches.

    Args:
        name: Name of the model.
        split: The data.
        devices: Names of the devices.
        keys: Settings such as "train.batch_size=64".
    """

    def __init__(self, name: str, split: Any, devices: list[str], keys: list[str]):
        from tfrec_attn.data.sequences.transitions import training_pairs
        from tfrec_attn.runs import run
        from tfrec_attn.runtime.distribution import make_strategy
        from tfrec_attn.training.fitting import compile_model
        from tfrec_attn.training.inputs import training_stream

        self.devices = devices
        self.config = settings(name, keys)
        self.strategy = make_strategy(Runtime(strategy="mirrored", devices=devices))
        sequences = split.sequences
        seed_everything(1)
        with self.strategy.scope():
            self.model = run.build_model(
                self.config, sequences.user_vocabulary, sequences.item_vocabulary
            )
            if self.model.uses_training_events:
                self.model.set_training_events(*training_pairs(split))
            self.stream = training_stream(self.config, split)
            compile_model(self.model, self.config, split, self.stream)
        self._train = self.model.make_train_function()

    def batches(self, repeated: bool = False) -> Any:
        """Returns an iterator of the batches, or of the repeated first batch of each device."""
        parts = len(self.devices)

        def dataset(pipeline):
            stream = self.stream.dataset(0, pipeline)
            return stream.take(parts).cache().repeat().prefetch(2) if repeated else stream

        return iter(self.strategy.distribute_datasets_from_function(dataset))

    def run(self, batches: Any, steps: int) -> float:
        """Trains for at least `steps` steps, and returns the seconds of a step."""
        counter = self.model.optimizer.iterations
        first, begin = int(counter.numpy()), time.perf_counter()
        per_call = int(self.model._steps_per_execution.numpy())
        for _ in range(-(-steps // per_call)):
            logs = self._train(batches)
        logs["loss"].numpy()
        return (time.perf_counter() - begin) / (int(counter.numpy()) - first)

    def rate(self, steps: int) -> float:
        """Returns the examples a second of `steps` steps, after some untimed steps."""
        batches = self.batches()
        self.run(batches, max(steps // 10, 1))
        return self.stream.batch_size / self.run(batches, steps)


def settings(name: str, keys: list[str]) -> Config:
    """Returns the recommended configuration of a model, changed by `keys`."""
    config = configuration.load(None, [f"model.name={name}", *keys])
    return configuration.with_model_parameters(config, models.parameters(name))


def measure(
    tf, name: str, split: Any, devices: list[str], batch_size: int, steps: int
) -> dict[str, Any]:
    """Returns the figures of one model."""
    from tfrec_attn.training.evaluating import rank

    examples = {}
    for count in range(len(devices), 0, -1):
        keys = [f"train.batch_size={batch_size - batch_size % count}"]
        training = Training(name, split, devices[:count], keys)
        _reset_memory(tf, devices[0])
        examples[f"{count} x"] = training.rate(steps)
    # The last training uses only the first device.
    memory = _peak_memory(tf, devices[0])
    waiting = 1.0 - training.run(training.batches(True), steps) / training.run(
        training.batches(), steps
    )
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        training.run(training.batches(), max(steps // 10, 1))
        tf.profiler.experimental.stop()
        idle = idle_share(Path(folder), devices[0])
    with tf.device(devices[0]):
        rank(training.model.ranks, training.config, split, "valid")
        seconds = seconds_of(lambda: rank(training.model.ranks, training.config, split, "test"))
    examples = dict(reversed(examples.items()))
    for label, policy in PRECISIONS.items():
        set_precision(policy)
        try:
            examples[label] = Training(name, split, devices[:1], keys).rate(steps)
        finally:
            set_precision("float32")
    return {
        "examples": examples,
        "weights": difference(tf, name, split, devices, batch_size),
        "input": max(waiting, 0.0),
        "idle": idle,
        "memory": memory,
        "ranked": split.sequences.num_users / seconds,
    }


def difference(tf, name: str, split: Any, devices: list[str], batch_size: int) -> float:
    """Returns the largest difference between weights trained on the devices and on a CPU.

    It is relative to the largest change of the same variable.
    """
    keys = [f"train.batch_size={batch_size - batch_size % len(devices)}", *ADAGRAD]
    keys += ["model.dropout=0"] if "dropout" in models.parameters(name) else []
    keys += ["runtime.steps_per_execution=1"]
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    start, trained = None, []
    try:
        for place in (["CPU:0"], devices):
            training = Training(name, split, place, keys)
            variables = training.model.trainable_variables
            start = start or [one.numpy() for one in variables]
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
            training.run(training.batches(), COMPARED_STEPS)
            trained.append([one.numpy() for one in variables])
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    return max(
        float(np.abs(found - expected).max() / max(np.abs(expected - begin).max(), 1e-6))
        for expected, found, begin in zip(*trained, start, strict=True)
    )


def idle_share(folder: Path, device: str) -> float | None:
    """Returns the share of a profile's time in which a device ran no kernel; None for a CPU.

    Args:
        folder: Folder of the profile.
        device: Name of the device, such as "GPU:0".
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    for path in folder.rglob("*.xplane.pb"):
        space.MergeFromString(path.read_bytes())
    spans = sorted(
        (1000 * line.timestamp_ns + event.offset_ps, event.duration_ps)
        for plane in space.planes
        if plane.name.endswith(f"device:{device}") and "GPU" in device
        for line in plane.lines
        if line.name.startswith("Stream")
        for event in line.events
    )
    if not spans:
        return None
    busy, end = 0, spans[0][0]
    for begin, duration in spans:
        busy += max(begin + duration - max(begin, end), 0)
        end = max(end, begin + duration)
    return 1.0 - busy / (end - spans[0][0])


def latencies(
    tf, name: str, split: Any, device: str, requests: int = REQUESTS
) -> dict[str, list[float]]:
    """Returns the milliseconds of `serving_default` for `HISTORIES`, by device, also on a CPU."""
    from export.from_python import export_model

    training = Training(name, split, [device], [])
    random, found = np.random.default_rng(2), {}
    with tempfile.TemporaryDirectory() as folder:
        version = export_model(training.model, Path(folder) / name)
        for place in dict.fromkeys((device, "CPU:0")):
            with tf.device(place):
                answer = tf.saved_model.load(str(version)).signatures["serving_default"]
                found[place] = [
                    _latency(tf, answer, _requests(split, training.config, random, requests, rows))
                    for rows in HISTORIES
                ]
    return found


def _requests(
    split: Any, config: Config, random: np.random.Generator, count: int, rows: int
) -> list[dict]:
    """Returns `count` requests of `rows` random users with random histories."""
    users, items = split.sequences.num_users, split.sequences.num_items
    user = random.integers(1, users + 1, (count, rows))
    history = random.integers(1, items + 1, (count, rows, config.data.max_length))
    ids = np.char.add("u", user.astype(str)), np.char.add("i", history.astype(str))
    return [{"user_id": one, "history": other} for one, other in zip(*ids, strict=True)]


def _latency(tf, answer: Any, requests: list[dict]) -> float:
    """Returns the median milliseconds of a request, without the first fifth of the requests."""
    taken = []
    for request in requests:
        features = {key: tf.constant(value) for key, value in request.items()}
        taken.append(
            seconds_of(
                lambda features=features: tf.nest.map_structure(np.array, answer(**features))
            )
        )
    return round(1e3 * statistics.median(taken[-(-len(taken) // 5) :]), 2)


def _reset_memory(tf, device: str) -> None:
    if device.startswith("GPU"):
        tf.config.experimental.reset_memory_stats(device)


def _peak_memory(tf, device: str) -> float | None:
    """Returns the peak memory since `_reset_memory`, in MB; None for a CPU."""
    if not device.startswith("GPU"):
        return None
    return tf.config.experimental.get_memory_info(device)["peak"] / 2**20


if __name__ == "__main__":
    sys.exit(main())
