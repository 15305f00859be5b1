"""Measures training on several hosts of a network with delay: throughput and bytes a step.

    python benchmarks/hosts.py [--hosts 2 3] [--delays 0 1 5 20] [--loss 0] [--json FILE]

Hosts are network namespaces of this machine, so the program needs root on Linux. Each host has one
core; if there are more hosts than cores, they share cores. A step is a step of SASRec with sampled
softmax. The global batch of random ids is the same for any number of hosts.

- `one`: a step with the global batch on one host.
- `share`: a step with the batch of one host and without an exchange, while the other hosts do the
  same.
- `update`: the update of as many rows as the other hosts send, because each host has the whole
  table.
- `speed`: the throughput, relative to one host.
- `bound`: `speed` if a step took `share`, `update` and the round trips of the exchange one after
  the other.
- `kept`: `speed` divided by `bound`.
- `of first`: the step at the first delay, plus the round trips that this delay adds, divided by the
  step at this delay. Other work on the machine affects this figure least.

Delays are in each direction. `MB/step` are the packets of a host. `expected` is

    2 (N - 1) / N * 4 bytes * dense weights + (N - 1) * rows * (4 bytes * D + 4 bytes)

for a ring that sums dense gradients, and a ring that gathers the distinct rows of each host. All
steps take turns, so that other load on the machine affects all of them. Figures are medians.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import _network
from _machine import add_json, write_json

ROWS, LENGTH, NEGATIVES, DIM, PORT = 120, 50, 512, 64, 5000
# Round trips of a step. Each other host of a ring adds RING_TRIPS: 2 to sum the dense gradients, 1
# for the sizes of the sparse gradients, and 1 for the sparse gradients. These three exchanges add
# OTHER_TRIPS, because TensorFlow sends a request to the first host before each of them.
RING_TRIPS, OTHER_TRIPS = 4, 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, nargs="+", default=[2, 3], choices=[2, 3, 4, 6])
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 1, 5, 20], help="ms")
    parser.add_argument("--loss", type=float, default=0, help="share of packets that are lost")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=5, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=4, help="turns")
    add_json(parser)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.worker:
        answer(parsed.items)
        return
    if reason := _network.why_not():
        print(f"Skipped: {reason}.")
        return
    results = []
    print(
        f"{'hosts':>5} {'delay':>8} {'loss':>5}  {'ms/step':>7} {'one':>7} {'share':>7} "
        f"{'update':>6}  {'speed':>5} {'bound':>5} {'kept':>5} {'of first':>8}  "
        f"{'MB/step':>7} {'expected':>8}  weights"
    )
    for hosts in parsed.hosts:
        with _network.Network(hosts) as network:
            results += measure(network, parsed)
    if parsed.json:
        write_json(parsed.json, results)


def measure(network: _network.Network, parsed: argparse.Namespace) -> list[dict]:
    """Measures and prints the figures of one number of hosts at all delays."""
    workers = [_Worker(network, host, parsed.items) for host in range(len(network.addresses))]
    try:
        network.set_link()
        _ask(workers, "together", 3)
        turns = []
        for _ in range(parsed.rounds):
            one = _ask(workers[:1], "one", parsed.steps)
            share, update = (_ask(workers, what, parsed.steps) for what in ("share", "update"))
            alone = one[0]["ms"], *(max(each["ms"] for each in both) for both in (share, update))
            for delay in parsed.delays:
                network.set_link(delay / 1e3, parsed.loss)
                found = _ask(workers, "together", parsed.steps)
                turns.append((delay, found, *alone))
            network.set_link()
        equal = len({each["weights"] for each in _ask(workers, "weights", 0)}) == 1
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
    rows = []
    for delay in parsed.delays:
        taken = [one for one in turns if one[0] == delay]
        rows.append(_report(len(workers), delay, taken, equal, parsed, rows[0] if rows else None))
    return rows


def _report(hosts: int, delay: float, turns: list, equal: bool, parsed, first: dict | None) -> dict:
    """Prints and returns the figures of one delay; `first` are those of the first delay."""
    ms = statistics.median(turn[1][0]["ms"] for turn in turns)
    one, share, update = (statistics.median(turn[part] for turn in turns) for part in (2, 3, 4))
    sent = statistics.median(each["sent"] for turn in turns for each in turn[1])
    figures = turns[0][1][0]
    expected = (hosts - 1) * (2 / hosts * 4 * figures["dense"] + figures["rows"] * 4 * (DIM + 1))
    trips = (RING_TRIPS * (hosts - 1) + OTHER_TRIPS) * 2 * delay
    bound = one / (share + update + trips)
    of_first = (first["ms"] + trips - first["trips_ms"]) / ms if first else 1.0
    row = {
        "hosts": hosts, "delay_ms": delay, "loss": parsed.loss, "ms": ms, "one_ms": one,
        "share_ms": share, "update_ms": update, "speed": one / ms, "bound": bound,
        "kept": one / ms / bound, "of_first": of_first, "trips_ms": trips,
        "mb": sent / 1e6, "expected_mb": expected / 1e6, "equal_weights": equal,
    }  # fmt: skip
    print(
        f"{hosts:>5} {delay:>5g} ms {parsed.loss:>5g}  {ms:>7.1f} {one:>7.1f} {share:>7.1f} "
        f"{update:>6.1f}  "
        f"{one / ms:>5.2f} {bound:>5.2f} {row['kept']:>5.2f} {of_first:>8.2f}  {sent / 1e6:>7.2f} "
        f"{expected / 1e6:>8.2f}  {'equal' if equal else 'DIFFERENT'}",
        flush=True,
    )
    return row


class _Worker:
    """The process of a host, which runs the steps that it reads from stdin."""

    def __init__(self, network: _network.Network, host: int, items: int):
        task = {
            "cluster": {"worker": [f"{address}:{PORT}" for address in network.addresses]},
            "task": {"type": "worker", "index": host},
        }
        command = [sys.executable, __file__, "--worker", "--items", str(items)]
        self.process = subprocess.Popen(
            network.command(host, command),
            env={**os.environ, "TF_CONFIG": json.dumps(task)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _ask(workers: list[_Worker], what: str, steps: int) -> list[dict]:
    for worker in workers:
        worker.process.stdin.write(f"{what} {steps}\n")
        worker.process.stdin.flush()
    return [json.loads(worker.process.stdout.readline()) for worker in workers]


def answer(items: int) -> None:
    """Runs the steps that the lines of stdin name, and prints a line of JSON for each line."""
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    from tfrec_attn.config import Runtime
    from tfrec_attn.runtime.distribution import make_strategy
    from tfrec_attn.runtime.process import import_tensorflow

    tf = import_tensorflow()
    strategy = make_strategy(Runtime(strategy="multi_worker"))
    hosts = strategy.num_replicas_in_sync
    steps = {
        "together": _Step(tf, items, strategy, slice(index, None, hosts)),
        "share": _Step(tf, items, tf.distribute.get_strategy(), slice(index, None, hosts)),
        "one": _Step(tf, items, tf.distribute.get_strategy(), slice(None)),
    }
    steps["update"] = _Update(tf, steps["share"], hosts - 1)
    for line in sys.stdin:
        what, count = line.split()
        if what == "weights":
            figures = {"weights": steps["together"].checksum()}
        else:
            figures = steps[what].run(int(count))
        print(json.dumps(figures), flush=True)


class _Step:
    """A compiled SASRec, and `part` of the global batch."""

    def __init__(self, tf, items: int, strategy, part: slice):
        import numpy as np

        from tfrec_attn import models, optimizers

        with strategy.scope():
            self.model = models.get("sasrec")(1000, items, LENGTH, dim=DIM)
            self.model.compile(optimizers.Adagrad(0.01), "sampled_softmax", l2=1e-4)
        random = np.random.default_rng(1)
        batch = {
            "user": random.integers(1, 1001, ROWS, np.int32),
            "history": random.integers(1, items + 1, (ROWS, LENGTH), np.int32),
            "targets": random.integers(1, items + 1, (ROWS, LENGTH), np.int32),
            "negatives": random.integers(1, items + 1, (ROWS, -(-NEGATIVES // ROWS)), np.int32),
            "normalizer": np.full(ROWS, 1.0 / (ROWS * LENGTH), np.float32),
        }
        own = {key: value[part] for key, value in batch.items() if key != "negatives"}
        own["negatives"] = batch["negatives"]
        ids = [own[key].ravel() for key in ("history", "targets", "negatives")]
        self.rows = len(np.unique(np.concatenate(ids)))

        def dataset(_=None):
            return tf.data.Dataset.from_tensors(own).repeat().prefetch(2)

        distributed = strategy.num_replicas_in_sync > 1
        self._batches = iter(
            strategy.distribute_datasets_from_function(dataset) if distributed else dataset()
        )
        self._train = self.model.make_train_function()

    def run(self, count: int) -> dict:
        """Runs `count` steps after an untimed one, and returns the figures of a step."""
        self._train(self._batches)["loss"].numpy()
        seconds, sent = [], _network.sent_bytes()
        for _ in range(count):
            begin = time.perf_counter()
            self._train(self._batches)["loss"].numpy()
            seconds.append(time.perf_counter() - begin)
        sent = _network.sent_bytes() - sent
        table = {weights.ref() for weights in self.model.tables("items")}
        dense = [each for each in self.model.trainable_variables if each.ref() not in table]
        return {
            "ms": 1e3 * statistics.median(seconds),
            "sent": sent / count,
            "rows": self.rows,
            "dense": sum(each.shape.num_elements() for each in dense),
        }

    def checksum(self) -> str:
        """Returns a checksum of all weights."""
        parts = [weights.tobytes() for weights in self.model.get_weights()]
        return hashlib.sha256(b"".join(parts)).hexdigest()


class _Update:
    """The update of as many rows of a table as `others` hosts send."""

    def __init__(self, tf, step: _Step, others: int):
        from tfrec_attn.optimizers.regularised_step import RegularisedStep

        (table,) = step.model.tables("items")
        rows = min(step.rows * others, table.shape[0])
        gradient = tf.IndexedSlices(
            tf.fill([rows, DIM], 1e-6), tf.range(rows, dtype=tf.int64), tf.constant(table.shape)
        )
        update = RegularisedStep(step.model.optimizer, {table.ref(): None}, l2=1e-4)
        self._run = tf.function(lambda: update([gradient], [table], {}), autograph=False)

    def run(self, count: int) -> dict:
        """Runs `count` updates after an untimed one, and returns the time of an update."""
        return {"ms": _milliseconds(self._run, count)}


def _milliseconds(function, count: int) -> float:
    function()
    seconds = []
    for _ in range(count):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(seconds)


if __name__ == "__main__":
    main()
