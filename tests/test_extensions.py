"""Models, losses and data sources of other packages, entry points, and error messages."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.commands import run_command
from tests.training.test_resume import kill
from tfrec_attn import config as configuration
from tfrec_attn import evaluate, extensions, losses, models, train
from tfrec_attn.config import loss_names
from tfrec_attn.data.reading import catalog
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runs import run
from tfrec_attn.training import training_run
from tfrec_attn.training.inputs import training_stream

REPOSITORY = Path(__file__).resolve().parents[1]
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
from tfrec_attn.losses import Loss, sampled_softmax

def square(positive, negative, mask):
    pairs = (1.0 - positive[:, :, tf.newaxis] + negative) ** 2
    return tf.reduce_sum(tf.where(mask[:, :, tf.newaxis], pairs, 0.0), axis=[1, 2])

def two(positive, negative):
    return positive

def mean(positive, negative, mask):
    return tf.reduce_mean(positive)

def failing(positive, negative, mask):
    raise RuntimeError("it is Monday")

positions = Loss(sampled_softmax, "positions", "shared", ("next_items",), {"log_q": "log_q"})
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
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, empty, whose modules are forgotten afterwards; as for a console script it
    is not on the path.
    """
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def shop(folder):
    """A folder with a module of each kind."""
    for name, text in (("shop_models", MODEL), ("shop_losses", LOSSES), ("shop_data", SOURCE)):
        (folder / f"{name}.py").write_text(text)
    return folder


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
    """The sentence with which the training refuses to begin; it leaves nothing."""
    before = sorted(Path.cwd().rglob("*"))
    code, _, error = run_command(train.main, *TINY, *arguments)
    assert code == 2 and re.fullmatch(r"error: [^\n]+[^.]\.\n", error), error
    assert [
        one
        for one in sorted(Path.cwd().rglob("*"))
        if one not in before and "__pycache__" not in one.parts
    ] == []
    return error.removeprefix("error: ").rstrip("\n")


# --- Names ---


def test_names_of_losses_are_those_of_the_table():
    assert loss_names.names() == list(losses.LOSSES)
    assert loss_names.all_batches() == losses.BATCHES
    for name, loss in losses.LOSSES.items():
        assert loss_names.batches(name) == loss.batches
        assert loss_names.get(name) is loss
        assert not loss_names.is_foreign(name)


def test_trains_on_is_read_from_the_source():
    for name in [*models.names(), "tests.outside.bpr_mf:BPRMF", "tests.outside.cloze:Cloze"]:
        assert models.trains_on(name) == models.get(name).trains_on
        assert models.is_foreign(name) == (":" in name)


def test_short_names():
    assert [extensions.short_name(name) for name in ("attrec", "a.b:C", "b:C")] == [
        "attrec",
        "C",
        "C",
    ]


def test_nothing_is_imported_to_read_a_model(folder):
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "shop" / "models.py").write_text("raise RuntimeError('imported')\n" + MODEL)
    name = "shop.models:Mean"
    assert models.parameters(name) == {"dim": 8}
    assert models.recommended(name) == {"train.learning_rate": 0.1, "data.max_length": 4}
    assert models.trains_on(name) == "windows"
    assert "shop" not in sys.modules
    with pytest.raises(
        ConfigError,
        match=rf"^model\.name=shop\.models:Mean cannot be imported: RuntimeError: imported, "
        rf"{folder}/shop/__init__\.py:1\.$",
    ):
        models.get(name)


def test_without_the_current_folder_on_a_safe_path(shop):
    code = (
        "from tfrec_attn.models import parameters; import sys; "
        "sys.stdout.write(str(parameters('shop_models:Mean')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (0, "{'dim': 8}"), found.stderr
    if sys.version_info >= (3, 11):
        found = subprocess.run(
            [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
        )
        assert found.stderr.splitlines()[-1].endswith(
            "there is no shop_models on the path, which does not include the current folder "
            "(python -P)."
        )


# --- From training to serving ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of a model, a loss and a source of its own, and the arguments that it was
    trained by.
    """
    folder = tmp_path_factory.mktemp("shop")
    for name, text in (("run_models", MODEL), ("run_losses", LOSSES), ("run_data", SOURCE)):
        (folder / f"{name}.py").write_text(text)
    arguments = [
        *TINY,
        "model.name=run_models:Mean",
        "train.loss=run_losses:square",
        "data.source=run_data:clicks",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        code, out, error = run_command(train.main, *arguments)
        assert (code, error) == (0, "")
        yield folder, arguments, out


def test_a_run_of_another_package(trained):
    folder, arguments, out = trained
    assert "Wrote runs/clicks-Mean: " in out and "\nMean " in out
    config = run.load_config(folder / "runs" / "clicks-Mean")
    assert (config.model.name, config.train.loss, config.data.source) == (
        "run_models:Mean",
        "run_losses:square",
        "run_data:clicks",
    )
    assert (config.data.max_length, config.model.parameters) == (4, {"dim": 8})
    code, out, _ = run_command(train.main, *arguments)
    assert code == 0 and out.endswith("clicks-Mean\n") and "is already complete" in out


def test_the_loss_is_used(trained):
    # The scores are about 0, so that each of the 3 x 2 pairs of a window begins with a loss of 1.
    lines = (trained[0] / "runs" / "clicks-Mean" / "history.csv").read_text().splitlines()
    first = float(lines[1].split(",")[lines[0].split(",").index("loss")])
    assert first == pytest.approx(6.0, rel=0.05)


def test_evaluation(trained):
    folder = trained[0] / "runs" / "clicks-Mean"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert evaluate.evaluate(folder)["test"] == pytest.approx(metrics["test"])
    assert evaluate.evaluate(folder, on="current-log")["current_log"]["same"]


def test_resuming(trained, tmp_path):
    arguments = [*trained[1], f"run_dir={tmp_path}/run"]
    # Within the second of two epochs, of a step each.
    kill(arguments, 2)
    assert (tmp_path / "run.partial").is_dir()
    code, out, _ = run_command(train.main, *arguments)
    assert code == 0 and "Resuming from" in out
    one, other = (
        json.loads((place / "metrics.json").read_text())
        for place in (tmp_path / "run", trained[0] / "runs" / "clicks-Mean")
    )
    assert one["test"] == other["test"]


def test_warm_start(trained, tmp_path):
    code, out, error = run_command(
        train.main,
        *trained[1],
        f"run_dir={tmp_path}/run",
        "train.epochs=1",
        "train.warm_start=runs/clicks-Mean",
    )
    assert (code, error) == (0, "")
    assert "overlap@10" in out


# --- Entry points ---


def test_installed_packages(shop, capsys):
    install(
        shop,
        models={"shop-mean": "shop_models:Mean"},
        losses={"shop-square": "shop_losses:square"},
        sources={"shop-clicks": "shop_data:clicks"},
    )
    assert "shop-mean" in models.names()
    assert loss_names.names()[-1] == "shop-square"
    with pytest.raises(SystemExit):
        train.main(["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = lines.index("parameters of model.name=shop-mean, explained in its class:")
    assert lines[at + 1] == "model.dim=8"
    assert (
        "of installed packages: shop-square" in lines
        and "of installed packages: shop-clicks" in lines
    )
    config = configuration.load(
        None,
        ["model.name=shop-mean", "train.loss=shop-square", "data.source=shop-clicks"],
        models.recommended,
    )
    assert config.train.learning_rate == 0.1
    assert models.get(config.model.name).__name__ == "Mean"
    assert loss_names.get(config.train.loss).function.__name__ == "square"
    assert catalog.load_configured(config.data).frame.height == 180
    for arguments, sentence in (
        (
            ["model.name=shopmean"],
            r"model\.name must be one of attrec, .*shop-mean, or package\.module:Class, "
            r"but is .* \(did you mean 'shop-mean'\?\)\.",
        ),
        (
            ["train.loss=shop-squares"],
            r"train\.loss must be one of hinge, .*, shop-square, "
            r"or .* \(did you mean 'shop-square'\?\)\.",
        ),
        (
            ["data.source=shop-click"],
            r"data\.source must be one of synthetic, .*, shop-clicks, "
            r"or .* \(did you mean 'shop-clicks'\?\)\.",
        ),
    ):
        assert re.fullmatch(sentence, refused(*arguments))


def test_a_broken_package_does_not_break_the_help(shop, capsys):
    install(shop, models={"shop-gone": "shop_models:Gone", "shop-mean": "shop_models:Mean"})
    with pytest.raises(SystemExit):
        train.main(["--help"])
    out = capsys.readouterr().out
    assert (
        f"model.name=shop-gone must name a class of {shop}/shop_models.py, which defines Mean."
        in out
    )
    assert "parameters of model.name=shop-mean" in out


def test_a_name_in_two_packages(shop):
    install(shop, models={"shop-mean": "shop_models:Mean"})
    (shop / "other").mkdir()
    install(shop / "other", models={"shop-mean": "other:Mean"})
    (shop / "other" / "shop-1.0.dist-info").rename(shop / "other" / "other-1.0.dist-info")
    (shop / "other" / "other-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"
    )
    assert refused("model.name=shop-mean") == (
        "model.name='shop-mean' is an entry point of two packages; "
        "give other:Mean or shop_models:Mean."
    )


# --- Mistakes ---


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


@pytest.mark.parametrize(
    "name", ["shop..x:Mean", "shop:", ":Mean", "shop:Mean:x", "a b:c", "2001-01-01T10:00"]
)
def test_names_of_another_form(name):
    for key, form in (
        ("model.name", "Class"),
        ("train.loss", "function"),
        ("data.source", "function"),
    ):
        given = re.escape(repr(name))
        sentence = (
            rf"{re.escape(key)} must be one of .*, or package\.module:{form}, but is {given}.*\."
        )
        assert re.fullmatch(sentence, refused(f"{key}={name}"))


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


ZEROS = "scores and mask of the shapes [2, 3], [2, 3, 4], [2, 3]"


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ("shop_losses:gone", "cannot be found: shop_losses has no gone."),
        ("no_such:loss", "names no module: there is no no_such in {folder} or installed."),
        (
            "shop_losses:number",
            "must be a function or a tfrec_attn.losses.Loss, but is a int.",
        ),
        (
            "shop_losses:two",
            "cannot be used: loss must be a function of (positive [B, T], negative [B, T, K], "
            "mask [B, T]), but two takes other arguments.",
        ),
        (
            "shop_losses:positions",
            "takes next_items, but model.name=attrec trains on windows; set another train.loss.",
        ),
        (
            "sampled_softmax",
            "takes next_items and masked_items, but model.name=attrec trains on windows; "
            "set another train.loss.",
        ),
        (
            "shop_losses:mean",
            f"must return the loss of each example, [2] for {ZEROS}, but returns [].",
        ),
        (
            "shop_losses:failing",
            f"fails for {ZEROS}: RuntimeError: it is Monday, {{folder}}/shop_losses.py:16.",
        ),
    ],
)
def test_invalid_losses(loss, sentence, shop):
    assert refused(f"train.loss={loss}") == f"train.loss={loss} {sentence.format(folder=shop)}"


def test_the_loss_is_refused_before_the_log_is_read(shop):
    missing = ["data.source=file", "data.path=missing.csv"]
    for loss in ("sampled_softmax", "shop_losses:positions"):
        assert refused(f"train.loss={loss}", *missing).startswith(
            f"train.loss={loss} takes next_items"
        )
    assert "missing.csv does not exist" in refused("train.loss=bpr", *missing)


def test_a_loss_object_decides_its_negatives(shop, make_leave_one_out):
    split = make_leave_one_out([[1, 2, 3, 4], [2, 3, 4, 5], [5, 4, 3, 2]], 5)
    shapes = {}
    for loss in ("shop_losses:positions", "shop_losses:square"):
        overrides = [
            "model.name=sasrec",
            f"train.loss={loss}",
            "train.negatives=5",
            "train.batch_size=3",
            "data.max_length=2",
        ]
        stream = training_stream(configuration.load(None, overrides), split)
        shapes[loss] = next(iter(stream.dataset()))["negatives"].shape
    # Five for the whole batch of three, two with each; or five for each of the positions.
    assert shapes == {"shop_losses:positions": [3, 2], "shop_losses:square": [3, 2, 5]}


@pytest.mark.parametrize(
    "change",
    [
        {"of": "score"},
        {"negatives": "some"},
        {"batches": ("window",)},
        {"batches": ()},
        {"keywords": {"a": "b"}},
    ],
)
def test_invalid_loss_objects(change):
    with pytest.raises(
        ValueError, match=rf"^{next(iter(change))} of a Loss must be .*, but is .*\.$"
    ):
        losses.Loss(losses.hinge, **change)


# --- Sources ---


def source(folder, body, **options):
    """Reads what a function of this body gives; each is a module of its own."""
    name = f"given{len(list(folder.glob('given*')))}"
    (folder / f"{name}.py").write_text(
        f"import datetime\nimport numpy as np\nimport polars as pl\n\ndef log(path):\n    {body}\n"
    )
    return catalog.load(f"{name}:log", **options)


GOOD = {"user_id": ["7", "7", "8"], "item_id": ["a", "b", "a"], "timestamp": [3, 1, 2]}


@pytest.mark.parametrize(
    "table",
    [
        "{'user_id': [7, 7, 8], 'item_id': ['a', 'b', 'a'], 'timestamp': [3, 1, 2]}",
        "{'user_id': np.array([7, 7, 8]), 'item_id': np.array(['a', 'b', 'a']), 'timestamp': "
        "pl.Series([3, 1, 2])}",
        "pl.DataFrame({'item_id': ['a', 'b', 'a'], 'user_id': [7, 7, 8], 'timestamp': ['3', '1', "
        "'2'], 'more': [1.0, 2.0, 3.0]})",
        "pl.DataFrame({'user_id': [7, 7, 8], 'item_id': ['a', 'b', 'a'], 'timestamp': [3, 1, "
        "2]}).lazy()",
        "{'user_id': ['7', '7', '8'], 'item_id': ['a', 'b', 'a'], "
        "'timestamp': [datetime.datetime(1970, 1, 1, 0, 0, second) for second in (3, 1, 2)]}",
    ],
)
def test_valid_tables_of_a_source(table, folder):
    frame = source(folder, f"return {table}").frame
    assert frame.to_dict(as_series=False) == GOOD
    assert frame.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}


def test_columns_and_path(folder):
    body = "return {'who': [path, 'v'], 'what': ['a', 'b'], 'stars': [4, 5]}"
    columns = {"user": "who", "item": "what", "timestamp": None, "rating": "stars"}
    frame = source(folder, body, path="table of clicks", columns=columns).frame
    expected = {
        "user_id": ["table of clicks", "v"],
        "item_id": ["a", "b"],
        "rating": [4.0, 5.0],
        "timestamp": [0, 1],
    }
    assert frame.to_dict(as_series=False) == expected


def test_the_path_stays_as_it_is_given(shop):
    config = configuration.load(None, ["data.source=shop_data:clicks", "data.path=s3://bucket/log"])
    assert training_run.resolve(config).data.path == "s3://bucket/log"


def test_invalid_rows_of_a_source(folder):
    body = "return {'user_id': ['u', '', 'w'], 'item_id': ['a', 'b', None], 'timestamp': [5, 6, 7]}"
    result = source(folder, body, on_error="skip", rejected=folder / "rejected.tsv")
    assert (result.frame.height, result.rejected) == (1, 2)
    assert (folder / "rejected.tsv").read_text().splitlines() == [
        "file\tline\treason\ttext",
        r"given0:log	2	expected a user_id, got an empty one	\tb\t6",
        r"given0:log	3	expected an item_id, got an empty one	w\tNone\t7",
    ]


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ("5", {}, "SOURCE must give a polars DataFrame or a dict of columns, but gives a int."),
        (
            "{'user_id': [1, 2], 'item_id': [1]}",
            {},
            "SOURCE gives columns that are no table: height of column 'item_id' (1) does not match "
            "height of column 'user_id' (2).",
        ),
        (
            "{'user_id': [1], 'item': [1], 'timestamp': [1]}",
            {},
            "SOURCE has no column 'item_id' (did you mean 'item'?), "
            "its columns are user_id, item, timestamp: name it in data.columns.item.",
        ),
        (
            "{'user_id': [1.5], 'item_id': [1], 'timestamp': [1]}",
            {},
            "SOURCE, column 'user_id': expected text or integers, got Float64.",
        ),
        (
            "{'user_id': [1, 2], 'item_id': [1, 2], 'timestamp': [-1, 5]}",
            {},
            "SOURCE, row 1: expected a timestamp that is not negative, got '-1'; "
            "correct it, or leave such rows out with data.on_error=skip.",
        ),
        (
            "{'user_id': [1], 'item_id': [''], 'timestamp': [1]}",
            {"on_error": "skip"},
            "SOURCE gives no interactions: all 1 rows were rejected, row 1 because of this: "
            "expected an item_id, got an empty one.",
        ),
        ("{'user_id': [], 'item_id': [], 'timestamp': []}", {}, "SOURCE gives no interactions."),
        (
            "open(path)",
            {"path": "gone"},
            "SOURCE failed: FileNotFoundError: [Errno 2] No such file or directory: 'gone', "
            "FOLDER/given0.py:6.",
        ),
        ("5", {"format": "csv"}, "data.format is for files, but SOURCE is a function."),
    ],
)
def test_invalid_sources(columns, options, sentence, folder):
    with pytest.raises(ConfigError if "format" in options else DataError) as caught:
        source(folder, f"return {columns}", **options)
    expected = sentence.replace("SOURCE", "data.source=given0:log").replace("FOLDER", str(folder))
    assert str(caught.value) == expected


def test_invalid_functions_of_a_source(folder):
    (folder / "none.py").write_text("x = 1\ndef two(path, more): ...\n")
    for name, sentence in (
        ("none:x", "must be a function, but is a int"),
        ("none:two", "must be a function of (path), but takes other arguments"),
        ("none:y", "cannot be found: none has no y"),
    ):
        with pytest.raises(ConfigError) as caught:
            catalog.load(name)
        assert str(caught.value) == f"data.source={name} {sentence}."


def test_other_events_are_another_log(shop, tmp_path):
    arguments = [
        *TINY,
        "train.epochs=1",
        "model.dim=8",
        "data.source=shop_data:clicks",
        f"run_dir={tmp_path}/run",
    ]
    assert run_command(train.main, *arguments)[0] == 0
    assert "is already complete" in run_command(train.main, *arguments)[1]
    (shop / "shop_data.py").write_text(without(SOURCE, "default_rng(0)", "default_rng(11)"))
    del sys.modules["shop_data"]
    assert "is a finished run of another log" in refused(*arguments)


# --- Another version of the model ---


def copy_of(trained, tmp_path):
    shutil.copytree(trained[0] / "runs" / "clicks-Mean", tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text(
        (tmp_path / "run" / "config.yaml").read_text().replace("run_models:", "shop:")
    )
    (tmp_path / "run" / "SHA256SUMS").unlink()
    return tmp_path / "run"


RENAMED = (
    without(MODEL, "dim=8", "width=8")
    .replace("= dim", "= width")
    .replace(", dim,", ", width,")
    .replace("self.dim", "self.width")
)
WIDER = without(MODEL, "num_items, dim, stddev", "num_items, dim + 1, stddev")
MORE = without(
    MODEL,
    "        self.items =",
    "        self.more = EmbeddingTable(num_items, dim, name='more')\n        self.items =",
)
FEWER = without(
    without(
        without(
            without(
                MODEL,
                'EmbeddingTable(num_items, dim, stddev=0.1, name="items")',
                "tf.ones([num_items + 1, dim])",
            ),
            'self.items(features["history"])',
            'tf.gather(self.items, features["history"])',
        ),
        "self.items.rows(items)",
        "self.items if items is None else tf.gather(self.items, items)",
    ),
    "{self.items: 0}",
    "{}",
)
OTHER = (
    "the weights in RUN are of another model than its config.yaml describes; "
    "install the version that it was trained with, or train again."
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            RENAMED,
            "RUN is of another version of model.name=shop:Mean, which has no dim now: "
            "install that version, or train again.",
        ),
        (WIDER, OTHER),
        (MORE, OTHER),
        (FEWER, OTHER),
        (None, "model.name=shop:Mean names no module: there is no shop in FOLDER or installed."),
    ],
)
def test_runs_of_another_version_of_the_model(text, sentence, trained, folder):
    found = copy_of(trained, folder)
    if text:
        (folder / "shop.py").write_text(text)
    with pytest.raises(ConfigError) as caught:
        run.load_model(found)
    assert str(caught.value).replace(str(found), "RUN").replace(str(folder), "FOLDER") == sentence


def test_evaluation_needs_neither_loss_nor_source(trained, folder):
    found = copy_of(trained, folder)
    (folder / "shop.py").write_text(MODEL)
    config = (found / "config.yaml").read_text()
    (found / "config.yaml").write_text(
        config.replace("run_losses:", "gone:").replace("run_data:", "gone:")
    )
    assert np.isfinite(evaluate.evaluate(found)["test"]["MRR"])
