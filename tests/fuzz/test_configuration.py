"""Random and hostile configuration values: each is accepted, or is one error with exit code 2."""

import contextlib
import io
import itertools
import math
import os
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrec_attn import config as configuration
from tfrec_attn import models, train
from tfrec_attn.data import prepare, validate
from tfrec_attn.errors import TfrecError
from tfrec_attn.runs import run
from tfrec_attn.training import training_run

FACTOR = float(os.environ.get("TFREC_FUZZ", "1"))
BILLION = "a: &a [x, x]\n" + "\n".join(
    f"{b}: &{b} [*{a}, *{a}]" for a, b in itertools.pairwise("abcdefghijklmnopqrstuvwxyz")
)
VALUES = [
    "", " ", "null", "Null", "~", "~/x", "~nobody-of-this-name/x", "true", "yes", "on", "0", "-0",
    "-0.0", "1", "-1", "3", "010", "08", "0x10",
    "0o7", "0b1", "1_000", "1:30", "1:30:00.5", "1e3", "1e-3", ".5", "5.", "1e39", "1e308",
    "1e309", "-1e400", "1e-400", ".inf", "inf",
    "-inf", "nan", ".nan", "9" * 18, "9" * 19, "9" * 30, "9" * 5000, "-" + "9" * 5000,
    "0." + "9" * 5000, "2147483647", "2147483648",
    "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551616", "٣", "１２",
    "²", "½", "2024-13-45", "2024-01-31",
    "2024-01-31 10:00:00", "2024-02-30T25:61:61Z", "0000-00-00", "0001-01-01",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "9999-12-31", "0001-01-01T00:00Z", "20240131", "2024-W05", "!!int x", "!!binary aGk=",
    "!!timestamp 2001-01-01", "!!python/name:os.system",
    "!!float x", "!!null x", "!x y", "&a [*a]", "[&a [*a]]", "*a", "[*a]", "{<<: {a: 1}}",
    "[" * 500, "{a: " * 500, "[" * 30 + "]" * 30,
    "]", "}", "[", "[]", "[[]]", "[1, 2", "[null]", "[a, b]", "[5, 10]", "[a: b]", '["a,b", "c"]',
    "[1e400]", "[.inf]", "[-0.0]", "{}",
    "{a: 1}", "{a: 1, a: 2}", "{1: 2}", "{[a]: 1}", "{? a}", "{a: {b: {c: d}}}",
    "{click: 1, buy: 3}", "{null: null}", "{a: nan}", "{a:1}",
    "a,b", ",", "a,,b", "5,10", "5;10", "a b", "a #b", "a: b", "a:b", "# a", "- a", "? a", "| a",
    "> a", "%a", "@a", "`a", "'a", '"a', "'a'",
    '"\\ud800"', '"\\UFFFFFFFF"', '["\\ud800"]', '["\\0"]', "a\0b", "\0", "\ud800", "a\udcffb",
    "\ufeff", "\u2028", "\x85", "\x07", "\n", "a\nb",
    "\r\n", "\t", "\\", "/", "//", ".", "..", "../../..", "/dev/null", "/dev/full",
    "/proc/self/mem", "/root/x", "x" * 255, "x" * 256, "x" * 300,
    "x" * 5_000, "x/" * 3_000, "é" * 200, "😀", "👩‍👩‍👧" * 100, "../" * 2000, "a" * 1_000_000, "-",
    "--", "=", "==", "a=b", "$HOME", "*", "?.csv",
    "file", "synthetic", "temporal", "skip", "collapse", "GPU:0", "[CPU:0]", "[CPU:0, CPU:0]",
    "HR@10", "NDCG@0", "MRR", "stream", "inter",
    "adam", "softmax", "cosine", "mirrored", "multi_worker", "mqsa_ted", "attrec", "__init__",
    "base", "os", "../base",
]  # fmt: skip
KEYS = [key for key, _, _ in configuration.documented()]
PARAMETERS = {name: [f"model.{key}" for key in models.parameters(name)] for name in models.names()}
OTHER_KEYS = [
    "", ".", "..", "data", "train", "model", "evaluate", "data.columns", "train.distillation",
    "Data.path", "data.", ".path", "data.path.x", "1",
    "model.", "model.nope", "model.name.x", "evaluate.k.0", "train.optimizer_options.x",
    "data.event_weights.click", "x" * 5000, "\0", "\ud800",
    "run_dir.x", "data.columns.user.x", "[", "{a: 1}", "null",
]  # fmt: skip
CASES = [
    *(("attrec", key, value) for key in KEYS for value in VALUES),
    *((name, key, value) for name, keys in PARAMETERS.items() for key in keys for value in VALUES),
    *(("attrec", key, value) for key in OTHER_KEYS for value in VALUES),
]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of 20 users with 8 events each, and with all optional columns."""
    path = tmp_path_factory.mktemp("fuzz") / "log.csv"
    types = ["click", "buy", "buy"]
    lines = [
        f"u{n % 20},i{(n * 7) % 30},{1_700_000_000 + n * 3600},{n % 5},{types[n % 3]}"
        for n in range(160)
    ]
    path.write_text("\n".join(["user_id,item_id,timestamp,rating,event", *lines]) + "\n")
    return path


def checks(log, folder, texts=(), file=None):
    """Does what `tfrec_attn.train` does before it imports TensorFlow, on small logs only."""
    config = training_run.resolve(configuration.load(file, texts))
    there = folder / "again.yaml"
    there.write_text(configuration.to_yaml(config), encoding="utf-8")
    assert training_run.resolve(configuration.load(there)) == config
    if config.data.source in ("synthetic", "file") and config.data.events <= 2000:
        run.prepare_data(config)
    return config


def holds(action):
    """Calls a function, which must succeed or raise one sentence."""
    try:
        return action()
    except TfrecError as error:
        message = str(error)
        assert error.exit_code == 2, message
        assert 0 < len(message) <= 1000 and message.isprintable(), message
        return None


def tried(log, folder, name, key, value):
    base = [
        f"model.name={name}",
        "data.source=file",
        f"data.path={log}",
        "data.columns.rating=rating",
        "data.columns.event=event",
    ]
    if key == "data.events":
        base = ["data.source=synthetic"]
    holds(lambda: checks(log, folder, [*base, f"{key}={value}"]))
    if key in ("data.valid_from", "data.test_from"):
        others = ["data.split=temporal", "data.valid_from=0.5", "data.test_from=0.8"]
        holds(lambda: checks(log, folder, [*base, *others, f"{key}={value}"]))
    # The same in a file, beside other keys.
    *sections, last = key.split(".")
    lines = ["data:", "  source: file", f"  path: {log}"] if sections != ["data"] else []
    lines += [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)] + [
        f"{'  ' * len(sections)}{last}: {value}"
    ]
    file = folder / "file.yaml"
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    holds(lambda: checks(log, folder, ["data.events=1000"] if key != "data.events" else [], file))


def test_values_of_all_keys(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count = min(len(CASES), int(100 * FACTOR))
    for name, key, value in random.Random(13).sample(CASES, count):
        try:
            tried(log, tmp_path, name, key, value)
        except Exception as error:
            error.add_note(f"{name}: {key}={value[:80]!r}") if hasattr(error, "add_note") else None
            raise
    assert {path.name for path in tmp_path.iterdir()} <= {"again.yaml", "file.yaml"}


@pytest.mark.parametrize(
    "text",
    [
        BILLION,
        "a: " + "[" * 500,
        "x" * 100_000,
        "- " * 2000,
        "? " * 500,
        "%YAML " + "9" * 5000 + ".1\n--- a",
    ],
)
def test_files_that_expand(tmp_path, text):
    file = tmp_path / "some.yaml"
    file.write_text(text)
    assert holds(lambda: configuration.load(file)) is None


scalars = st.one_of(
    st.sampled_from([value for value in VALUES if len(value) < 400]),
    st.text(max_size=8),
    st.floats().map(str),
    st.integers().map(str),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(
            st.sampled_from([key.rpartition(".")[2] for key in KEYS] + ["name", "data", "1", "~"]),
            inner,
            max_size=3,
        ).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=6,
)
bounded = settings(
    max_examples=int(25 * FACTOR),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@bounded
@given(
    section=st.sampled_from(["data", "train", "model", "evaluate", "runtime", "run_dir"]),
    tree=trees,
)
def test_sections_of_any_form(tmp_path_factory, log, section, tree):
    folder = tmp_path_factory.getbasetemp()
    holds(lambda: checks(log, folder, [f"{section}={tree}", "data.events=1000"]))


@bounded
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_text_is_read_back(tmp_path_factory, text):
    """A key of text takes an argument literally, and a file gives it back."""
    file = tmp_path_factory.getbasetemp() / "text.yaml"
    config = holds(lambda: configuration.load(None, [f"data.columns.user={text}"]))
    if text == "":
        assert config is None
        return
    assert config.data.columns.user == text
    options = {
        "train": {"optimizer_options": {text: text, "list": [text]}},
        "data": {"names": [text], "columns": {"event": text}},
    }
    config = configuration.from_dict(options)
    file.write_text(configuration.to_yaml(config), encoding="utf-8", newline="")
    assert configuration.load(file) == config
    assert config.data.columns.event == text and config.train.optimizer_options == {
        text: text,
        "list": [text],
    }


@bounded
@given(number=st.one_of(st.floats(), st.integers(), st.integers(-(10**400), 10**400)))
def test_numbers_are_read_back_or_refused(number):
    config = holds(
        lambda: configuration.load(None, [f"data.min_rating={number}", "data.columns.rating=r"])
    )
    if abs(number) <= 1e38:
        assert config.data.min_rating == number and math.copysign(1, config.data.min_rating) == (
            1 if number == 0 else math.copysign(1, number)
        )
    else:
        assert config is None


COMMANDS = {
    "train": (train.main, [[]]),
    "prepare": (
        prepare.main,
        [["none.csv", "--to"], ["none.csv", "--to", "out", "--shards"], ["--to", "out"]],
    ),
    "validate": (
        validate.main,
        [
            [],
            *(
                [f"--{name}"]
                for name in ("config", "schema", "against", "serving-log", "vocabulary", "to")
            ),
        ],
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_commands(log, tmp_path, monkeypatch, command):
    """An invalid option ends a command with exit code 1 or 2 and a sentence, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    main, beginnings = COMMANDS[command]
    values = [
        value for value in VALUES if value[:1] not in ("/", ".") and value not in ("", "*", "?.csv")
    ]
    for beginning in beginnings:
        for value in random.Random(13).sample(values, min(len(values), int(6 * FACTOR))):
            arguments = [
                *beginning,
                value,
                *([str(log)] if command == "validate" and beginning else []),
            ]
            error = io.StringIO()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
                try:
                    code = main(arguments)
                except SystemExit as ended:
                    code = ended.code
            assert code in (0, 1, 2), arguments
            if code:
                assert 0 < len(error.getvalue().splitlines()[-1]) < 1100, arguments
                assert list(tmp_path.iterdir()) == [], arguments
            for path in tmp_path.iterdir():
                shutil.rmtree(path)
