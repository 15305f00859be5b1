"""Fixtures for the tests of the export: tiny models with awkward ids, runs and servables."""

import contextlib
import functools
import io

import numpy as np
import pytest
import tensorflow as tf

from export import command
from export.saved_model import save
from export.servable import Servable
from tests.models.contract import count_randomly
from tfrec_attn import config as configuration
from tfrec_attn import models, train
from tfrec_attn.data.sequences.vocabulary import Vocabulary
from tfrec_attn.runtime.runner import Runner

# What an id may look like: other scripts, quotes, blanks that matter, 1,000 characters.
AWKWARD = [
    "日本語",
    "élan",
    "a b",
    " a b",
    'say "hi"',
    "it's",
    "back\\\\slash",
    "x" * 1000,
    "🎬" * 1000,
    "0",
    "-1",
    "İ",
]
TINY = {"dim": 8, "stddev": 0.5, "dropout": 0.0}


def awkward_ids(count, prefix):
    """Distinct ids, the awkward ones first."""
    return [*AWKWARD, *(f"{prefix}{index}" for index in range(count))][:count]


@pytest.fixture(scope="session")
def make_model():
    """A function that makes an untrained model with vocabularies.

    `make_model(name, users=6, items=12, length=4, **parameters)`.
    """

    def make(name, users=6, items=12, length=4, **parameters):
        tf.random.set_seed(3)
        given = {**TINY, **parameters}
        known = {key: value for key, value in given.items() if key in models.parameters(name)}
        model = models.get(name)(users, items, length, **known)
        if model.trains_on == models.COUNTS:
            count_randomly(model)
        model.user_vocabulary = Vocabulary([f"user of {one}" for one in awkward_ids(users, "u")])
        model.item_vocabulary = Vocabulary(awkward_ids(items, "i"))
        return model

    return make


@pytest.fixture(scope="session")
def served(make_model, tmp_path_factory):
    """A function that saves and loads an untrained model, once for each set of arguments.

    `served(name, items=12, k=5, max_k=8, **options)` returns (model, item_counts, runner). Item
    i + 1 has i events, so that the most popular items are the last.
    """
    runners = []

    @functools.cache
    def serve(name, items=12, k=5, max_k=8, **options):
        model, counts = make_model(name, items=items), np.arange(items)
        model.popularity = (counts / max(counts.sum(), 1)).astype(np.float32)
        folder = tmp_path_factory.mktemp("saved")
        save(Servable(model, counts, k=k, max_k=max_k, **options), folder)
        # test_stock_tensorflow.py and test_verify.py run optimized graphs.
        runners.append(Runner(folder, optimize=False))
        return model, counts, runners[-1]

    yield serve
    for runner in runners:
        runner.close()


def write_log(path, users=30, events=10, items=24):
    """Writes a CSV log in which every user has `events` different items, some with awkward ids."""
    random = np.random.default_rng(4)
    ids = ["日本語", "a b", "it's", "x" * 1000, *(f"i{index}" for index in range(items))][:items]
    lines = ["user_id,item_id,timestamp"]
    for user in range(users):
        lines += [
            f"person-{user},{ids[item]},{1000 * user + time}"
            for time, item in enumerate(random.permutation(items)[:events])
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A function that trains a tiny model, once, and returns its run directory."""

    @functools.cache
    def trained(name):
        folder = tmp_path_factory.mktemp("runs")
        parameters = {key: value for key, value in TINY.items() if key in models.parameters(name)}
        causal = models.get(name).trains_on == "next_items"
        config = configuration.from_dict(
            {
                "data": {
                    "source": "file",
                    "path": str(write_log(folder / "log.csv")),
                    "max_length": 4,
                    "targets": 2,
                },
                "model": {"name": name, **parameters},
                "train": {
                    "epochs": 1,
                    "batch_size": 32,
                    "negatives": 2,
                    "loss": "softmax" if causal else "hinge",
                },
                "evaluate": {"bootstrap": 20},
                "runtime": {"steps_per_execution": 1},
                "run_dir": str(folder / name),
            }
        )
        with contextlib.redirect_stdout(io.StringIO()):
            return train.train(config)

    return trained


@pytest.fixture(scope="session")
def exported(run_folder, tmp_path_factory):
    """A function that exports the run of a model with the command, once for each options.

    `exported(name, *options)` returns (run, version folder, what the command printed). No test may
    change the folders.
    """

    @functools.cache
    def export(name, *options):
        base = tmp_path_factory.mktemp("servables") / "shop"
        arguments = [str(run_folder(name)), "--to", str(base), *options]
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            assert command.main(arguments) == 0
        assert error.getvalue() == ""
        return run_folder(name), base / "1", out.getvalue()

    return export
