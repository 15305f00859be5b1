"""Errors of models of other packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run_command
from tests.extensions.foreign_code import MODEL, TINY, refused, without
from tfrec_attn import train

REPOSITORY = Path(__file__).resolve().parents[2]
PLAIN = "must have numbers, texts, truth values, None, lists or dictionaries in its source"
BY_KEY = (
    "must have recommended settings of data, train and evaluate by key, such as "
    "{{'train.loss': 'softmax'}}"
)
NO_DEFAULT = "must have a default for each parameter, but size has none."
SETTINGS = '{"train.learning_rate": 0.1, "data.max_length": 4}'
QUERY = 'tf.reduce_sum(self.items(features["history"]), axis=1)'
CONSTRUCTOR = "must have a constructor of num_users, num_items and max_length, but it has no "


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no.such:Mean", "names no module: there is no no.such in {folder} or installed."),
        ("shop.x:Mean", "names no module: there is no shop.x in {folder} or installed."),
        ("math:Mean", "must name a module of Python source, but math is not one."),
        (
            "shop:Man",
            "must name a class of {folder}/shop.py, which defines Mean (did you mean 'Mean'?).",
        ),
    ],
)
def test_modules_that_cannot_be_found(name, sentence, folder):
    (folder / "shop.py").write_text(MODEL)
    assert refused(f"model.name={name}") == f"model.name={name} {sentence.format(folder=folder)}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "must name a class of {file}, which defines none."),
        (f"{MODEL}x = y", "cannot be imported: NameError: name 'y' is not defined, {file}:23."),
        (
            f"{MODEL}import no_such",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such', {file}:23.",
        ),
        (f"{MODEL}raise SystemExit(3)", "cannot be imported: SystemExit: 3, {file}:23."),
        (f"{MODEL}def :", "cannot be imported: SyntaxError: invalid syntax, {file}:23."),
        (
            without(MODEL, "(SequenceModel)"),
            "must be a subclass of tfrec_attn.models.SequenceModel, but is <class 'shop.Mean'>.",
        ),
        (without(MODEL, "num_items, max_length, *,", "max_length, *,"), CONSTRUCTOR + "num_items."),
        ("class Mean: pass", CONSTRUCTOR + "num_users."),
        (
            without(MODEL, "dim=8", "dim=D"),
            f"{PLAIN}, but dim is 'D'.",
        ),
        (without(MODEL, "dim=8", "dim=(1, 2)"), f"{PLAIN}, but dim is '(1, 2)'."),
        (without(MODEL, "dim=8", "dim=..."), f"{PLAIN}, but dim is '...'."),
        (without(MODEL, "dim=8", "dim=[1, b'x']"), f"{PLAIN}, but dim is \"[1, b'x']\"."),
        (without(MODEL, SETTINGS, "5"), f"{BY_KEY}."),
        (without(MODEL, SETTINGS, "{'run_dir': 'x'}"), f"{BY_KEY}."),
        (without(MODEL, SETTINGS, "{'data.source': 'x'}"), f"{BY_KEY}."),
        (without(MODEL, "*, dim=8", "*, size, dim=8"), NO_DEFAULT),
        (without(MODEL, "*, dim=8", "size, *, dim=8"), NO_DEFAULT),
        (
            without(MODEL, "self, num_users", "self, /, num_users"),
            "must take arguments by name, but self is positional-only.",
        ),
        (
            without(MODEL, "SequenceModel", "SASRec"),
            "must set trains_on in its own class, because only the source of that is read.",
        ),
        (
            without(MODEL, "    recommended", "    trains_on = 'sets'\n    recommended"),
            "must have trains_on of windows, next_items, masked_items, counts, but has 'sets'.",
        ),
    ],
)
def test_invalid_models(text, sentence, folder):
    file = folder / "shop.py"
    file.write_text(text)
    assert refused("model.name=shop:Mean") == f"model.name=shop:Mean {sentence.format(file=file)}"


def test_errors_name_the_line_of_the_package_and_not_of_a_library(folder):
    (folder / "shop.py").write_text("import helpers\n" + MODEL)
    (folder / "helpers.py").write_text("\nimport json\njson.loads('{')\n")
    found = refused("model.name=shop:Mean")
    assert found.startswith("model.name=shop:Mean cannot be imported: JSONDecodeError: ")
    assert found.endswith(f", {folder}/helpers.py:3.")


def test_layers_must_be_built_in_the_constructor(folder):
    late = "self.dim = dim\n        self.dense = tf.keras.layers.Dense(dim, name='mixing')"
    text = without(
        without(MODEL, "self.dim = dim", late),
        'tf.reduce_sum(self.items(features["history"]), axis=1)',
        "self.dense(tf.reduce_sum(self.items(features['history']), axis=1))",
    )
    (folder / "shop.py").write_text(text)
    assert refused("model.name=shop:Mean") == (
        "model.name=shop:Mean must build its layers in its constructor: "
        "call build(input_shape) of mixing there."
    )
    (folder / "built.py").write_text(
        without(text, "name='mixing')", "name='mixing')\n        self.dense.build([None, dim])")
    )
    assert run_command(train.main, *TINY, "train.epochs=1", "model.name=built:Mean")[0] == 0


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (
            "self.items(features['history'])",
            "must have query_vectors [B, 8], as wide as item_vectors, "
            "but for one history they are [1, 1, 8].",
        ),
        (
            "self.items(features['history'])[:, -1, :3]",
            "must have query_vectors [B, 8], as wide as item_vectors, "
            "but for one history they are [1, 3].",
        ),
        (
            "tf.reduce_mean(self.items(features['history']), axis=1)",
            "must have query_vectors that ignore padding: leave out positions with history 0.",
        ),
        (
            "1 / 0",
            "fails for a history of one item: ZeroDivisionError: division by zero, {file}:16.",
        ),
    ],
)
def test_models_that_break_the_contract(query, sentence, folder):
    file = folder / "shop.py"
    file.write_text(without(MODEL, QUERY, query))
    assert refused("model.name=shop:Mean") == f"model.name=shop:Mean {sentence.format(file=file)}"


def test_ids_are_wide_in_training(folder):
    narrow = QUERY.replace("]", "] + tf.zeros([], tf.int32)")
    (folder / "shop.py").write_text(without(MODEL, QUERY, narrow))
    assert refused("model.name=shop:Mean").startswith(
        "model.name=shop:Mean fails for ids of int64, as in training: InvalidArgumentError: "
    )


def test_weights_that_a_checkpoint_would_lack(folder):
    lost = "self.dim = dim\n        self.add_weight(name='lost', shape=[2])"
    (folder / "shop.py").write_text(without(MODEL, "self.dim = dim", lost))
    found = refused("model.name=shop:Mean")
    assert found.startswith(
        "model.name=shop:Mean must keep its layers and weights as attributes, also in lists or "
        "dictionaries, but lost"
    ) and found.endswith(" is in none.")


@pytest.mark.parametrize(
    ("prior", "sentence"),
    [
        (
            "features['history'], tf.ones([1, 4])",
            "must have a prior of items 1..N, each once in a row, but for a history of one item "
            "several times it lists ",
        ),
        (
            "features['history'][:, -1:] + 1, tf.ones([1, 1])",
            "must have a prior of items 1..N, each once in a row, but for a history of one item "
            "several times it lists ",
        ),
        (
            "features['history'][:, -1:], tf.ones([1, 1], tf.int32)",
            "must have a prior of values float32 [B, P], but for one history they are int32 "
            "[1, 1].",
        ),
        ("1 / 0", "fails for the prior of a history: ZeroDivisionError: division by zero, "),
    ],
)
def test_priors_that_break_the_contract(prior, sentence, folder):
    file = folder / "shop.py"
    file.write_text(f"{MODEL}\n    def prior(self, features):\n        return {prior}\n")
    found = refused("model.name=shop:Mean")
    assert found.startswith(f"model.name=shop:Mean {sentence}"), found


COUNTING = """
import numpy as np
from tfrec_attn.layers import EmbeddingTable
from tfrec_attn.models import SequenceModel
import tensorflow as tf

class Last(SequenceModel):
    trains_on = "counts"

    def __init__(self, num_users, num_items, max_length, **kwargs):
        super().__init__(num_users, num_items, max_length, **kwargs)
        self.last = EmbeddingTable(num_items, 1, stddev=0.0, trainable=False, name="last")

    def count(self, split):
        items = split.sequences.items[split.train_mask()]
        known = np.isin(np.arange(self.num_items + 1), items)
        self.last.embeddings.assign(1.0 * known[:, np.newaxis])

    def query_vectors(self, features, training=False):
        return tf.ones([tf.shape(features["history"])[0], 1])

    def item_tables(self):
        return [self.last]
"""


def test_a_counting_model(folder):
    (folder / "shop.py").write_text(COUNTING)
    command = [one for one in TINY if not one.startswith("model.")]
    code, _, error = run_command(train.main, *command, "model.name=shop:Last")
    assert (code, error) == (0, "")
    (folder / "bad.py").write_text(without(COUNTING, "split.train_mask()", "split.mask()"))
    assert refused("model.name=bad:Last") == (
        "model.name=bad:Last cannot count the events: AttributeError: 'Split' object has no "
        f"attribute 'mask', {folder}/bad.py:15."
    )


def test_the_table_of_items_has_a_row_for_each_item(folder):
    (folder / "shop.py").write_text(
        without(MODEL, "EmbeddingTable(num_items,", "EmbeddingTable(num_items + 1,")
    )
    found = refused("model.name=shop:Mean")
    assert found.startswith("model.name=shop:Mean must have item_vectors of ")


def test_a_constructor_that_fails(folder):
    file = folder / "shop.py"
    file.write_text(without(MODEL, "self.dim = dim", "self.dim = dim.size"))
    assert refused("model.name=shop:Mean") == (
        "model.name=shop:Mean cannot be built: AttributeError: "
        f"'int' object has no attribute 'size', {file}:12."
    )


def test_the_help_has_the_parameters_of_a_given_model(folder, capsys):
    (folder / "shop.py").write_text(MODEL)
    with pytest.raises(SystemExit):
        train.main(["model.name=shop:Mean", "--help"])
    out = capsys.readouterr().out
    assert "  parameters of model.name=shop:Mean, explained in its class:\n    model.dim=8\n" in out
    assert "    recommended: train.learning_rate=0.1 data.max_length=4\n" in out


def test_evaluation_notes_metrics_that_changed_with_the_code(folder):
    file = folder / "shop.py"
    file.write_text(MODEL)
    assert run_command(train.main, *TINY, "train.epochs=1", "model.name=shop:Mean")[0] == 0
    command = [sys.executable, "-m", "tfrec_attn.evaluate", "runs/synthetic-Mean"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    options = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    same = subprocess.run(command, **options)
    assert (same.returncode, same.stderr) == (0, "")
    file.write_text(without(MODEL, "axis=1)", "axis=1) * -1.0"))
    other = subprocess.run(command, **options)
    assert other.returncode == 0
    assert other.stderr.startswith("note: ") and "in runs/synthetic-Mean: the code" in other.stderr
