"""Modules of a shop that add a model, losses and a data source, and helpers of their tests."""

import re
import sys
from pathlib import Path

from tests.commands import run_command
from tfrec_attn import train

MODEL = """
from typing import ClassVar
import tensorflow as tf
from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel

class Mean(SequenceModel):
    recommended: ClassVar = {"train.learning_rate": 0.1, "data.max_length": 4}

    def __init__(self, num_users, num_items, max_length, *, dim=8, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.dim = dim
        self.items = EmbeddingTable(num_items, dim, stddev=0.1, name="items")

    def query_vectors(self, features, training=False):
        return tf.reduce_sum(self.items(features["history"]), axis=1)

    def item_vectors(self, items=None):
        return self.items.rows(items)

    def item_columns(self):
        return {self.items: 0}
"""
LOSSES = """
import tensorflow as tf
from tfrec_attn.losses import Loss, sampled_softmax, softmax

def square(positive, negative, mask):
    pairs = (1.0 - positive[:, :, tf.newaxis] + negative) ** 2
    return tf.reduce_sum(tf.where(mask[:, :, tf.newaxis], pairs, 0.0), axis=[1, 2])

def two(positive, negative):
    return positive

def mean(positive, negative, mask):
    return tf.reduce_mean(positive)

def failing(positive, negative, mask):
    raise RuntimeError("it is Monday")

def ending(positive, negative, mask):
    raise SystemExit(3)

def whole(positive, negative, mask):
    return tf.cast(tf.reduce_sum(positive, axis=1), tf.int32)

def level(positive, negative, mask):
    return tf.zeros_like(positive[:, 0])

positions = Loss(sampled_softmax, "positions", "shared", ("next_items",), {"log_q": "log_q"})
narrow = Loss(softmax, "positions", "none", keywords={"products": "softmax_precision"})
number = 3
"""
SOURCE = """
import numpy as np

def clicks(path):
    users, events = 20, 9
    items = np.random.default_rng(0).integers(0, 15, users * events)
    times = np.tile(np.arange(events), users)
    return {"user_id": np.repeat(np.arange(users), events), "item_id": items, "timestamp": times}
"""
TINY = [
    "data.events=1000",
    "train.epochs=2",
    "train.batch_size=32",
    "train.negatives=2",
    "evaluate.bootstrap=0",
    "runtime.steps_per_execution=1",
]


def install(folder, **groups):
    """Makes a folder an installed distribution with entry points."""
    info = folder / "shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    sections = (
        f"[tfrec_attn.{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in groups.items()
    )
    (info / "entry_points.txt").write_text("\n".join(sections))
    sys.path.insert(0, str(folder))


def without(text, old, new=""):
    assert old in text
    return text.replace(old, new)


def refused(*arguments):
    """Returns the error of a training that is refused, and asserts that it writes nothing."""
    assert not Path("setup.cfg").exists(), "the current folder must be one of the test: see folder"
    before = set(Path.cwd().rglob("*"))
    code, _, error = run_command(train.main, *TINY, *arguments)
    assert code == 2 and re.fullmatch(r"error: [^\n]+[^.]\.\n", error), error
    assert [
        one for one in Path.cwd().rglob("*") if one not in before and "__pycache__" not in one.parts
    ] == []
    return error.removeprefix("error: ").rstrip("\n")
