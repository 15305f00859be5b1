"""Configuration files of users and of the package."""

import re
from pathlib import Path

import pytest

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config, config_files, load
from tfrec_attn.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("data: [", ["is not YAML"]),
        (
            "- data\n- train\n",
            ["must hold sections of keys, but holds a list (['data', 'train'])."],
        ),
        ("train: 3", ["train must be a section of keys, but is '3'."]),
        ("data: {path: !!python/name:os.system }", ["is not YAML"]),
        (b"data: {source: \xff\xfe}", ["cannot be read"]),
        ("data: {path: !!timestamp 2001-13-45}", ["is not YAML: line 1: a tag (!) is not read"]),
        ("data: &a [*a]", ["is not YAML: line 1: an anchor (&) with its alias (*) is not read"]),
        (
            "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
            ["is not YAML: line 1: an anchor (&) with its alias (*) is not read"],
        ),
        (
            "train:\n  epochs: 1\n  epochs: 2\n",
            ["is not YAML: line 3: the key epochs is given twice."],
        ),
        ("? [a]\n: 1\n", ["is not YAML: line 1: a key must be a text."]),
        ("train: " + "[" * 500, ["is not YAML: it is nested more than 20 deep."]),
        ("train: " + "[" * 30 + "]" * 30, ["is not YAML: line 1: it is nested more than 20 deep."]),
        ('run_dir: "\\UFFFFFFFF"', ["is not YAML: "]),
        ("a: 1\n--- \nb: 2\n", ["is not YAML: line 2: but found another document."]),
        (
            "1: {}",
            [
                "Unknown configuration key 1; valid are data, model, train, prior, evaluate, "
                "runtime, run_dir."
            ],
        ),
    ],
)
def test_invalid_files(file, text, pieces):
    path = file(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert all(piece in message for piece in pieces), message
    assert "\n" not in message
    if "file" in message:
        assert str(path) in message


def test_a_missing_file(tmp_path):
    for path, choices in (
        (tmp_path / "no.yaml", "beauty/..., ml-100k/..., toys/..."),
        ("toys/sasrek", "toys/bert4rec, .*, toys/transition (did you mean 'toys/sasrec'?)"),
    ):
        expected = (
            f"Configuration file {path} does not exist; give the path of a YAML file, none for the "
            f"defaults, or one that comes with the package: {choices}."
        )
        with pytest.raises(ConfigError) as raised:
            load(path)
        assert re.fullmatch(re.escape(expected).replace(r"\.\*", ".*"), str(raised.value))


@pytest.mark.parametrize("name", ["ml-100k/sasrec", "ml-100k/sasrec.yaml"])
def test_a_configuration_of_the_package(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = load(REPOSITORY / "configs" / "ml-100k" / "sasrec.yaml", ["train.epochs=2"])
    assert load(name, ["train.epochs=2"]) == expected
    # A user's folder of that name does not precede it, a user's file does.
    (tmp_path / name).mkdir(parents=True)
    assert load(name, ["train.epochs=2"]) == expected
    (tmp_path / name).rmdir()
    (tmp_path / name).write_text("train: {epochs: 7}")
    assert load(name) == load(None, ["train.epochs=7"])


@pytest.mark.parametrize(
    "name",
    [
        "sasrec",
        "ml-100k",
        "../configs/ml-100k/sasrec",
        "ml-100k/sasrec.yaml.yaml",
        "ML-100K/sasrec",
    ],
)
def test_unknown_names_of_configurations(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"does not exist; .*: (beauty|ml-100k)/"):
        load(name)


def test_all_configurations_are_packaged():
    found = {**config_files.packaged(), **config_files.packaged_studies()}
    assert sorted(path.resolve() for path in found.values()) == CONFIGS
    assert config_files.packaged().keys() >= {"ml-100k/attrec", "beauty/mqsa_ted-128"}


def test_a_folder_cannot_be_read_as_a_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read"):
        load(tmp_path)


def test_a_configuration_file_may_lie_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "some.yaml").write_text("train: {epochs: 7}")
    assert load("~/some.yaml").train.epochs == 7


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("item: 010", "010"),
        ("item: yes", "yes"),
        ("item: null", "null"),
        ("item: 1:30", "1:30"),
        ("item: 2020-01-31", "2020-01-31"),
        ("item: 'null'", "null"),
        ("item: ''", ""),
        ("timestamp: null", None),
        ("timestamp:", None),
        ("timestamp: 'null'", "null"),
        ("timestamp: ''", ""),
    ],
)
def test_text_of_a_file_is_not_interpreted(file, line, expected):
    columns = load(file(f"data:\n  columns:\n    {line}\n")).data.columns
    assert getattr(columns, line.partition(":")[0]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "null",
        "yes",
        "a: b",
        " x",
        "x ",
        "",
        "010",
        "~",
        "a #b",
        "[a",
        "{a: 1}",
        "a,b",
        "\x85",
        "a\nb",
        "тест",
        "'a'",
        '"',
        "-",
        "1.0",
    ],
)
def test_texts_are_read_back_from_a_file(file, text):
    config = configuration.from_dict(
        {
            "data": {"columns": {"event": text}, "names": [text, "b"]},
            "train": {"optimizer_options": {"a": text, text: [text]}},
        }
    )
    assert config.data.columns.event == text and config.data.names == [text, "b"]
    assert config.train.optimizer_options == {"a": text, text: [text]}
    assert load(file(configuration.to_yaml(config))) == config


@pytest.mark.parametrize(
    "path",
    [path for path in CONFIGS if path.parent.name != "studies"] or [None],
    ids=lambda path: str(path and path.relative_to(REPOSITORY)),
)
def test_every_configuration_in_the_tree_loads(path):
    if path is None:
        pytest.skip("configs/ holds no YAML file yet")
    config = load(path)
    complete = configuration.with_model_parameters(config, models.parameters(config.model.name))
    assert complete.model.parameters.keys() == models.parameters(config.model.name).keys()
    assert config != Config()
