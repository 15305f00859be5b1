"""What the tests of the export get: tiny models with awkward ids, and finished runs, of every
model.
"""

import contextlib
import functools
import io

import numpy as np
import pytest
import tensorflow as tf

from export.saved_model import save
from export.servable import Servable
from export.session import Session
from tfrec_attn import config as configuration
from tfrec_attn import models, train
from tfrec_attn.data.sequences.vocabulary import Vocabulary

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
    """A function that makes an untrained model, with vocabularies: `make_model(name, users=6,
    items=12, length=4, **parameters)`.
    """

    def make(name, users=6, items=12, length=4, **parameters):
        tf.random.set_seed(3)
        tiny = {key: value for key, value in TINY.items() if key in models.parameters(name)}
        model = models.get(name)(users, items, length, **{**tiny, **parameters})
        model.user_vocabulary = Vocabulary([f"user of {one}" for one in awkward_ids(users, "u")])
        model.item_vocabulary = Vocabulary(awkward_ids(items, "i"))
        return model

    return make


@pytest.fixture(scope="session")
def served(make_model, tmp_path_factory):
    """A function that makes a model, saves it and loads it as TF Serving does, once: `served(name,
    items=12, k=5, max_k=8, **options)`.

    It returns (model, item_counts, session); item i + 1 has i events, so that the most popular
    items are the last.
    """
    sessions = []

    @functools.cache
    def serve(name, items=12, k=5, max_k=8, **options):
        model, counts = make_model(name, items=items), np.arange(items)
        folder = tmp_path_factory.mktemp("saved")
        save(Servable(model, counts, k=k, max_k=max_k, **options), folder)
        sessions.append(Session(folder))
        return model, counts, sessions[-1]

    yield serve
    for session in sessions:
        session.close()


def write_log(path, users=30, events=10, items=24):
    """A CSV log in which every user has `events` different items, some with awkward ids."""
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
    """A function that gives the run directory of a tiny training of a model, made once:
    `run_folder(name)`.
    """

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
                "run_dir": str(folder / name),
            }
        )
        with contextlib.redirect_stdout(io.StringIO()):
            return train.train(config)

    return trained
