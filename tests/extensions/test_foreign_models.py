"""Errors of models of other packages."""

import pytest

from tests.commands import run_command
from tests.extensions.foreign_code import MODEL, TINY, refused, without
from tfrec_attn import train

CONSTRUCTOR = "must have a constructor of num_users, num_items and max_length, but it has no "


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no.such:Mean", "names no module: there is no no.such in {folder} or installed."),
        ("shop.x:Mean", "names no module: there is no shop.x in {folder} or installed."),
        ("math:Mean", "must name a module of Python source, but math is none."),
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
            "must have literals in its source, but dim is 'D'.",
        ),
        (
            without(MODEL, "    recommended", "    trains_on = 'sets'\n    recommended"),
            "must have trains_on of windows, next_items, masked_items, but has 'sets'.",
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
