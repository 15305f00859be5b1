"""Configurations: defaults, files and arguments, and the error of each invalid value."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config, config_files, load
from tfrec_attn.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


def value_of(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


def leaves(tree, prefix=""):
    """Flat `a.b.c` -> value of nested dictionaries; an empty one is a value."""
    result = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            result.update(leaves(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = value
    return result


@pytest.fixture
def file(tmp_path):
    """A function that writes a YAML text and returns its path."""

    def write(text):
        path = tmp_path / "some.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_defaults_are_attrec_on_generated_data():
    # L = 5 and T = 3 as in the paper.
    config = load()
    assert (config.data.source, config.model.name, config.model.parameters) == (
        "synthetic",
        "attrec",
        {},
    )
    assert (config.data.max_length, config.data.targets, config.evaluate.k, config.run_dir) == (
        5,
        3,
        [5, 10, 20],
        None,
    )
    assert config == Config() == configuration.from_dict({})


def test_a_removed_key_is_accepted_with_its_default(file):
    assert load(file("runtime: {jit: false, precision: mixed_bfloat16}")) == load(
        None, ["runtime.precision=mixed_bfloat16"]
    )
    assert load(None, ["runtime.jit=false"]) == Config()


def test_a_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().train.epochs = 3


def test_configurations_share_no_list():
    load().evaluate.k.append(7)
    assert load().evaluate.k == [5, 10, 20]


def test_a_file_overrides_defaults_and_an_argument_overrides_the_file(file):
    path = file(
        "data: {max_length: 9, columns: {user: who}}\ntrain:\n  epochs: 7\nevaluate:\nrun_dir: "
        "there\n"
    )
    config = load(path, ["train.epochs=8", "data.columns.item=what", "model.dim=4"])
    changed = {
        key: value
        for key, value in leaves(configuration.to_dict(config)).items()
        if value != leaves(DEFAULTS).get(key)
    }
    assert changed == {
        "data.max_length": 9,
        "data.columns.user": "who",
        "data.columns.item": "what",
        "train.epochs": 8,
        "model.dim": 4,
        "run_dir": "there",
    }


DEFAULTS = configuration.to_dict(Config())


def test_the_last_override_wins():
    assert load(None, ["train.epochs=3", "train.epochs=4"]).train.epochs == 4


def test_an_empty_file_is_the_defaults(file):
    assert load(file("# nothing yet\n")) == Config()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.learning_rate=1e-3", 0.001),  # YAML 1.1 reads text
        ("train.learning_rate=1", 1.0),
        ("train.learning_rate=+.5", 0.5),
        ("train.margin=-0.0", 0.0),
        ("train.epochs=2.0", 2),
        ("train.epochs=1e2", 100),
        ("train.epochs=010", 10),  # octal to YAML 1.1
        ("train.epochs=+7", 7),
        ("data.seed=9007199254740993", 9007199254740993),  # 2^53 + 1 is no float
        ("data.valid_from=2020-01-31", "2020-01-31"),  # YAML reads a date
        ("data.valid_from=2020-01-31T10:20:30", "2020-01-31T10:20:30"),
        ("data.valid_from=0.8", 0.8),
        ("data.valid_from=null", None),
        ("data.columns.timestamp=null", None),
        ("data.columns.timestamp=", None),
        ("data.columns.timestamp=~", "~"),
        ("data.columns.user=null", "null"),  # it cannot be None
        ("data.columns.user=010", "010"),
        ("data.columns.user=1_000", "1_000"),
        ("data.columns.user=yes", "yes"),
        ("data.columns.user=1:30", "1:30"),
        ("data.columns.user='a'", "'a'"),
        ("data.columns.user=[a", "[a"),
        ("data.columns.user= a: b #c ", " a: b #c "),
        ("data.path=logs #1: new.csv", "logs #1: new.csv"),
        ("data.path=3", "3"),
        ("data.names=[a, b]", ["a", "b"]),
        ('data.names=["a,b", null]', ["a,b", "null"]),
        ("data.names=a", ["a"]),
        ("data.names=a, b,1e3", ["a", "b", "1e3"]),
        ("data.names=[]", []),
        ("data.names=null", None),
        ("evaluate.k=[1, 50.0]", [1, 50]),
        ("evaluate.k=50", [50]),
        ("evaluate.k=5,10", [5, 10]),
        ("train.shared_negatives=true", True),
        ("train.shared_negatives=False", False),
        ("train.optimizer_options={epsilon: 1e-3}", {"epsilon": 0.001}),
        (
            "train.optimizer_options={a: 010, b: yes, c: 'yes', d: true, e: null, f: '1'}",
            {"a": 10, "b": "yes", "c": "yes", "d": True, "e": None, "f": "1"},
        ),
        ("train.optimizer_options.nested={a: [1, [x]]}", {"nested": {"a": [1, ["x"]]}}),
        ("run_dir=a=b", "a=b"),
    ],
)
def test_values_get_the_type_of_their_key(override, expected):
    value = value_of(load(None, [override]), re.match(r"\w+\.(columns\.)?\w+|\w+", override)[0])
    assert value == expected
    assert type(value) is type(expected)
    if isinstance(expected, list):
        assert list(map(type, value)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.epoch=3", "Unknown configuration key train.epoch; did you mean train.epochs?"),
        (
            "data.columns.users=x",
            "Unknown configuration key data.columns.users; did you mean data.columns.user?",
        ),
        ("trian.epochs=3", "Unknown configuration key trian; did you mean train?"),
        (
            "runtime.zzz=3",
            "Unknown configuration key runtime.zzz; valid are runtime.strategy, runtime.devices, "
            "runtime.precision, "
            "runtime.steps_per_execution, runtime.deterministic, runtime.checkpoint_seconds.",
        ),
        ("train.epochs=many", "train.epochs must be a whole number, but is 'many'."),
        ("train.epochs=2.5", "train.epochs must be a whole number, but is '2.5'."),
        ("train.epochs=true", "train.epochs must be a whole number, but is 'true'."),
        ("train.epochs=null", "train.epochs must be a whole number, but is null."),
        ("train.epochs=.inf", "train.epochs must be a whole number, but is '.inf'."),
        ("train.learning_rate=fast", "train.learning_rate must be a number, but is 'fast'."),
        ("train.learning_rate=.nan", "train.learning_rate must be a number, but is '.nan'."),
        ("train.shared_negatives=1", "train.shared_negatives must be true or false, but is '1'."),
        ("evaluate.k=[5, ten]", "evaluate.k[1] must be a whole number, but is 'ten'."),
        ("train.epochs=", "train.epochs must be a whole number, but is empty."),
        ("train.epochs=1_000", "train.epochs must be a whole number, but is '1_000'."),
        ("train.epochs=0x10", "train.epochs must be a whole number, but is '0x10'."),
        ("train.epochs=1:30", "train.epochs must be a whole number, but is '1:30'."),
        ("train.epochs= 1", "train.epochs must be a whole number, but is ' 1'."),
        ("train.epochs=\u0663", "train.epochs must be a whole number, but is '\u0663'."),
        ("train.epochs='3'", "train.epochs must be a whole number, but is \"'3'\"."),
        (
            f"train.epochs={'7' * 5000}",
            f"train.epochs must be a whole number, but is '{'7' * 39}...{'7' * 16}'.",
        ),
        ("train.epochs=3000000000", "train.epochs must be at most 2147483647, but is 3000000000."),
        (
            "data.seed=1e30",
            "data.seed must be at most 9223372036854775807 (2 to the 63rd, less 1) in size, "
            "but is '1e30'.",
        ),
        ("data.events=1e9", "data.events must be at most 100000000, but is 1000000000."),
        ("train.learning_rate=1_0.5", "train.learning_rate must be a number, but is '1_0.5'."),
        (
            "train.learning_rate=1e39",
            "train.learning_rate must be at most 1e38 in size, but is '1e39'.",
        ),
        ("train.clip_norm=~", "train.clip_norm must be a number or null, but is '~'."),
        (
            "train.shared_negatives=yes",
            "train.shared_negatives must be true or false, but is 'yes'.",
        ),
        ("train.shared_negatives=on", "train.shared_negatives must be true or false, but is 'on'."),
        ("data.columns.user=", "data.columns.user must be text, but is empty."),
        (
            "data.columns.user=a\0b",
            "data.columns.user must be text in UTF-8 without NUL, but is 'a\\x00b'.",
        ),
        ("data.path=a\udcffb", "data.path must be text in UTF-8 without NUL, but is 'a\\udcffb'."),
        (
            f"data.path={'x' * 256}",
            f"data.path must be a path of 1 to 3000 bytes with names of at most 255, "
            f"but is '{'x' * 39}...{'x' * 16}'.",
        ),
        ("data.names=a,,b", "data.names[1] must be text, but is empty."),
        ("data.names={a: b}", "data.names[0] must be text, but is a section of keys ({'a': 'b'})."),
        (
            "data.names=[*a]",
            "The value of data.names is not YAML: '[*a]' (found undefined alias 'a').",
        ),
        (
            "evaluate.k=[!!int 5]",
            "The value of evaluate.k is not YAML: '[!!int 5]' (a tag (!) is not read; "
            "write the value without it).",
        ),
        (
            f"evaluate.k={'[' * 500}",
            f"The value of evaluate.k is not YAML: '{'[' * 39}...{'[' * 16}' (it is nested more "
            f"than 20 deep).",
        ),
        (
            "train.optimizer_options={a: 1, a: 2}",
            "The value of train.optimizer_options is not YAML: '{a: 1, a: "
            "2}' (the key a is given twice).",
        ),
        (
            "train.optimizer_options={a: 1e99}",
            "train.optimizer_options.a must be at most 1e38 in size, but is a number (1e+99).",
        ),
        ("TRAIN.epochs=3", "Unknown configuration key TRAIN; did you mean train?"),
        ("train.Epochs=3", "Unknown configuration key train.Epochs; did you mean train.epochs?"),
        (
            "train.loss=BPR",
            "train.loss must be one of hinge, bpr, bce, gbce, softmax, sampled_softmax, "
            "or package.module:function, "
            "but is 'BPR' (did you mean 'bpr'?).",
        ),
        ("evaluate.k=null", "evaluate.k must be a list, but is null."),
        (
            "train.optimizer_options=3",
            "train.optimizer_options must be a section of keys, but is '3'.",
        ),
        ("data=3", "data must be a section of keys, but is '3'."),
        ("data.columns=user", "data.columns must be a section of keys, but is 'user'."),
        (
            "train.loss=hing",
            "train.loss must be one of hinge, bpr, bce, gbce, softmax, sampled_softmax, "
            "or package.module:function, "
            "but is 'hing' (did you mean 'hinge'?).",
        ),
        ("data.on_error=ignore", "data.on_error must be one of raise, skip, but is 'ignore'."),
        (
            "data.split=random",
            "data.split must be one of leave-one-out, temporal, but is 'random'.",
        ),
        ("train.reduction=average", "train.reduction must be one of sum, mean, but is 'average'."),
        (
            "runtime.strategy=tpu",
            "runtime.strategy must be one of default, mirrored, multi_worker, but is 'tpu'.",
        ),
        (
            "runtime.strategy=parameter_server",
            "runtime.strategy=parameter_server was removed, because it trained with one worker; "
            "set multi_worker.",
        ),
        (
            "runtime.jit=true",
            "runtime.jit was removed, because no model trained faster with it; leave it out.",
        ),
        ("runtime.jit=no_value", "runtime.jit must be true or false, but is 'no_value'."),
        (
            "runtime.devices=[CPU:0]",
            "runtime.devices is for runtime.strategy=mirrored, but it is default.",
        ),
        (
            "runtime.precision=bfloat16",
            "runtime.precision must be one of float32, mixed_bfloat16, mixed_float16, "
            "but is 'bfloat16' (did you mean 'mixed_bfloat16'?).",
        ),
        (
            "train.schedule=cosin",
            "train.schedule must be one of constant, linear, cosine, inverse_sqrt, "
            "but is 'cosin' (did you mean 'cosine'?).",
        ),
        ("train.warmup_steps=-1", "train.warmup_steps must be 0 or greater, but is -1."),
        ("train.warmup_steps=0.5", "train.warmup_steps must be a whole number, but is '0.5'."),
        (
            "train.final_learning_rate=-0.1",
            "train.final_learning_rate must be 0 or greater, but is -0.1.",
        ),
        ("train.clip_norm=0", "train.clip_norm must be greater than 0, but is 0.0."),
        (
            "runtime.checkpoint_seconds=-1",
            "runtime.checkpoint_seconds must be 0 or greater, but is -1.0.",
        ),
        ("runtime.deterministic=1", "runtime.deterministic must be true or false, but is '1'."),
        ("train.accumulate=0", "train.accumulate must be greater than 0, but is 0."),
        ("train.epochs=0", "train.epochs must be greater than 0, but is 0."),
        ("train.learning_rate=-0.1", "train.learning_rate must be greater than 0, but is -0.1."),
        ("data.max_length=0", "data.max_length must be greater than 0, but is 0."),
        ("train.margin=-1", "train.margin must be 0 or greater, but is -1.0."),
        ("train.seed=-1", "train.seed must be 0 or greater, but is -1."),
        ("train.seed=4294967296", "train.seed must be at most 4294967295, but is 4294967296."),
        ("evaluate.k=[]", "evaluate.k must be cut-offs from 1 to 2147483647, but is []."),
        ("evaluate.k=[5, 0]", "evaluate.k must be cut-offs from 1 to 2147483647, but is [5, 0]."),
        (
            "evaluate.metric=NDCG@50",
            "evaluate.metric must be one of MRR, HR@5, NDCG@5, HR@10, NDCG@10, HR@20, "
            "NDCG@20 (see evaluate.k), but is 'NDCG@50'.",
        ),
        ("train.epochs", "Expected section.key=value on the command line but got 'train.epochs'."),
        ("=3", "Expected section.key=value on the command line but got '=3'."),
        (
            "data.names=[a",
            "The value of data.names is not YAML: '[a' (expected ',' or ']', "
            "but got '<stream end>').",
        ),
    ],
)
def test_invalid_values_are_one_sentence(override, sentence):
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert str(caught.value) == sentence
    assert caught.value.exit_code == 2


def test_a_number_too_large_for_a_float():
    with pytest.raises(
        ConfigError, match=r"^train\.learning_rate must be at most 1e38 in size, but is '9"
    ):
        load(None, ["train.learning_rate=" + "9" * 400])


@pytest.mark.parametrize(
    "override",
    [
        "train.margin=0",
        "train.l2=0",
        "train.kernel_l2=0",
        "train.seed=0",
        "data.seed=0",
        "evaluate.bootstrap=0",
        "runtime.checkpoint_seconds=0",
    ],
)
def test_zero_is_allowed_where_it_means_something(override):
    assert value_of(load(None, [override]), override.partition("=")[0]) == 0


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
                "Unknown configuration key 1; valid are data, model, train, evaluate, runtime, "
                "run_dir."
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


def test_an_override_below_a_value(file):
    with pytest.raises(
        ConfigError, match=r"^data\.path\.user cannot be set: path is a value, not a section\.$"
    ):
        load(None, ["data.path=x", "data.path.user=y"])
    with pytest.raises(
        ConfigError, match=r"^train\.epochs cannot be set: train is a value, not a section\.$"
    ):
        load(file("train: 3"), ["train.epochs=4"])


def test_a_missing_file(tmp_path):
    expected = (
        f"Configuration file {tmp_path}/no.yaml does not exist; give the path of a YAML file, "
        f"none for the "
        "defaults, or one that comes with the package: beauty/mqsa_ted, beauty/mqsa_ted-128, "
    )
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "no.yaml")
    assert str(raised.value).startswith(expected) and str(raised.value).endswith("toys/sasrec.")


@pytest.mark.parametrize("name", ["ml-100k/sasrec", "ml-100k/sasrec.yaml"])
def test_a_configuration_of_the_package(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = load(REPOSITORY / "configs" / "ml-100k" / "sasrec.yaml", ["train.epochs=2"])
    assert load(name, ["train.epochs=2"]) == expected
    # A folder of the user's with that name is none, a file is.
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
    with pytest.raises(ConfigError, match=r"does not exist; .*ml-100k/sasrec"):
        load(name)


def test_all_configurations_are_packaged():
    assert sorted(path.resolve() for path in config_files.packaged().values()) == CONFIGS
    assert config_files.packaged().keys() >= {"ml-100k/attrec", "beauty/mqsa_ted-128"}


def test_a_folder_cannot_be_read_as_a_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read"):
        load(tmp_path)


def test_round_trip(file):
    overrides = [
        "data.names=[a, b]",
        "data.columns.timestamp=null",
        "data.test_from=2020-01-31",
        "data.path=/данные/log 1.csv",
        "train.learning_rate=1e-5",
        "train.optimizer_options={epsilon: 0.5}",
        "model.dim=12",
        "model.max_norm=null",
        "model.aggregation=max",
    ]
    config = load(None, overrides)
    assert configuration.from_dict(configuration.to_dict(config)) == config
    assert load(file(configuration.to_yaml(config))) == config


def test_parameters_of_the_model_are_beside_its_name():
    tree = configuration.to_dict(load(None, ["model.dim=12"]))
    assert tree["model"] == {"name": "attrec", "dim": 12}


PARAMETERS = {
    "dim": 100,
    "user_weight": 0.2,
    "tied": True,
    "diagonal": "after",
    "max_norm": 1.0,
    "window": None,
    "sizes": [3, 4],
}


def resolved(*overrides):
    return configuration.with_model_parameters(load(None, overrides), PARAMETERS).model.parameters


def test_model_parameters_are_filled_in():
    assert resolved("model.dim=8") == {**PARAMETERS, "dim": 8}
    assert list(resolved()) == list(PARAMETERS)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.dim=8.0", 8),
        ("model.user_weight=1", 1.0),
        ("model.user_weight=1e-3", 0.001),
        ("model.tied=false", False),
        ("model.max_norm=null", None),
        ("model.window=1e-3", 0.001),
        ("model.window=last", "last"),
        ("model.sizes=[1, 2]", [1, 2]),
    ],
)
def test_model_parameters_take_the_type_of_their_default(override, expected):
    value = resolved(override)[override.partition("=")[0].removeprefix("model.")]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.dims=8", "Unknown configuration key model.dims; did you mean model.dim?"),
        (
            "model.qqq=8",
            "Unknown configuration key model.qqq; valid are model.dim, model.user_weight, "
            "model.tied, model.diagonal, model.max_norm, "
            "model.window, model.sizes, model.name.",
        ),
        ("model.dim=wide", "model.dim must be a whole number or null, but is text ('wide')."),
        ("model.dim=8.5", "model.dim must be a whole number or null, but is a number (8.5)."),
        ("model.tied=1", "model.tied must be true or false or null, but is a whole number (1)."),
        ("model.diagonal=3", "model.diagonal must be text or null, but is a whole number (3)."),
    ],
)
def test_model_parameters_that_the_model_does_not_take(override, sentence):
    with pytest.raises(ConfigError) as caught:
        resolved(override)
    assert str(caught.value) == sentence


def test_types_of_parameters_come_from_the_constructor():
    # AttRec's max_norm is annotated, because its default does not tell that None is allowed.
    hints = models.hints("attrec")
    assert hints.keys() == models.parameters("attrec").keys()
    assert (hints["dim"], hints["tied"], hints["user_weight"], hints["diagonal"]) == (
        int,
        bool,
        float,
        str,
    )
    assert hints["max_norm"] == float | None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.max_norm=null", None),
        ("model.max_norm=2", 2.0),
        ("model.dim=010", 10),
        ("model.dim=null", "model.dim must be a whole number, but is null."),
        ("model.dim=1_000", "model.dim must be a whole number, but is text ('1_000')."),
        ("model.tied=yes", "model.tied must be true or false, but is text ('yes')."),
    ],
)
def test_parameters_have_these_types(override, expected):
    config = load(None, [override])
    try:
        complete = configuration.with_model_parameters(
            config, models.parameters("attrec"), models.hints("attrec")
        )
        found = complete.model.parameters[override.partition("=")[0].removeprefix("model.")]
    except ConfigError as error:
        found = str(error)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "key", ["run_dir", "data.source", "data.path", "data.schema", "train.warm_start"]
)
def test_a_path_may_begin_with_the_home_folder(monkeypatch, key):
    monkeypatch.setenv("HOME", "/home/one")
    assert value_of(load(None, [f"{key}=~/x y"]), key) == "/home/one/x y"
    assert value_of(load(None, [f"{key}=x/~"]), key) == "x/~"


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


def test_documented_covers_every_key_with_its_default():
    documented = {key: default for key, default, _ in configuration.documented()}
    assert documented == leaves(DEFAULTS)
    assert all(text.strip() for _, _, text in configuration.documented())


def test_no_tensorflow_is_imported():
    code = "import tfrec_attn.config, sys; assert 'tensorflow' not in sys.modules"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    "path", CONFIGS or [None], ids=lambda path: str(path and path.relative_to(REPOSITORY))
)
def test_every_configuration_in_the_tree_loads(path):
    if path is None:
        pytest.skip("configs/ holds no YAML file yet")
    config = load(path)
    complete = configuration.with_model_parameters(config, models.parameters(config.model.name))
    assert complete.model.parameters.keys() == models.parameters(config.model.name).keys()
    assert config != Config()
