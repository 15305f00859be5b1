"""Values of arguments: converted by the type of their key, or refused in one sentence."""

import re

import pytest

from tfrec_attn.config import load
from tfrec_attn.errors import ConfigError


def value_of(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


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
        ("prior.weight=often", "prior.weight must be auto or a number or a list, but is 'often'."),
        ("prior.weight=0.5,often", "prior.weight[1] must be a number, but is 'often'."),
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
            "train.loss must be one of hinge, bpr, warp, bce, gbce, softmax, sampled_softmax, "
            "bpr_max, top1_max, or package.module:function, "
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
            "train.loss must be one of hinge, bpr, warp, bce, gbce, softmax, sampled_softmax, "
            "bpr_max, top1_max, or package.module:function, "
            "but is 'hing' (did you mean 'hinge'?).",
        ),
        ("data.on_error=ignore", "data.on_error must be one of raise, skip, but is 'ignore'."),
        (
            "data.split=random",
            "data.split must be one of leave-one-out, temporal, but is 'random'.",
        ),
        ("train.reduction=average", "train.reduction must be one of sum, mean, but is 'average'."),
        (
            "train.distillation.loss=ted",
            "train.distillation.loss must be one of cross_entropy, squared_distance, smoothing, "
            "but is 'ted'.",
        ),
        (
            "train.distillation.weight=-1",
            "train.distillation.weight must be 0 or greater, but is -1.0.",
        ),
        (
            "runtime.strategy=tpu",
            "runtime.strategy must be one of default, mirrored, multi_worker, but is 'tpu'.",
        ),
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


def test_an_override_below_a_value(file):
    with pytest.raises(
        ConfigError, match=r"^data\.path\.user cannot be set: path is a value, not a section\.$"
    ):
        load(None, ["data.path=x", "data.path.user=y"])
    with pytest.raises(
        ConfigError, match=r"^train\.epochs cannot be set: train is a value, not a section\.$"
    ):
        load(file("train: 3"), ["train.epochs=4"])


@pytest.mark.parametrize(
    "key", ["run_dir", "data.source", "data.path", "data.items", "data.schema", "train.warm_start"]
)
def test_a_path_may_begin_with_the_home_folder(monkeypatch, key):
    monkeypatch.setenv("HOME", "/home/one")
    assert value_of(load(None, [f"{key}=~/x y"]), key) == "/home/one/x y"
    assert value_of(load(None, [f"{key}=x/~"]), key) == "x/~"
