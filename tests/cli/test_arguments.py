"""Options of commands: decimal numbers, valid paths, and short error messages."""

import pytest

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.errors import ConfigError, counted, shorten


def parser():
    result = Arguments(prog="it")
    result.add_argument("--n", type=int)
    result.add_argument("--x", type=float)
    result.add_argument("--file", type=path)
    result.add_argument("--which", choices=["a", "b"])
    return result


@pytest.mark.parametrize(
    ("arguments", "name", "expected"),
    [
        (["--n", "010"], "n", 10),
        (["--n=-3"], "n", -3),
        (["--x", "1e3"], "x", 1000.0),
        (["--x", ".5"], "x", 0.5),
        (["--x", "7"], "x", 7.0),
        (["--file", "a #b"], "file", "a #b"),
        (["--file", "~/b"], "file", "/home/one/b"),
    ],
)
def test_valid_options(monkeypatch, arguments, name, expected):
    monkeypatch.setenv("HOME", "/home/one")
    found = getattr(parser().parse_args(arguments), name)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--n", "1_000"], "argument --n: it must be a whole number, but is '1_000'"),
        (["--n", "٣"], "argument --n: it must be a whole number, but is '٣'"),
        (["--n", " 3"], "argument --n: it must be a whole number, but is ' 3'"),
        (["--x", "nan"], "argument --x: it must be a number, but is 'nan'"),
        (["--x", "inf"], "argument --x: it must be a number, but is 'inf'"),
        (
            ["--file", ""],
            "argument --file: it must be a path of 1 to 3000 bytes with names of at most 255, "
            "but is ''",
        ),
        (["--file", "x" * 256], f"with names of at most 255, but is '{'x' * 39}...{'x' * 16}'"),
        (["--file", "x/" * 2000], "but is 'x/x/"),
        (["--file", "a\0b"], "an argument must be text in UTF-8 without NUL, but is 'a\\x00b'."),
        (
            ["--file", "a\udcffb"],
            "an argument must be text in UTF-8 without NUL, but is 'a\\udcffb'.",
        ),
        (["--which", "c" * 100_000], "ccc..."),
    ],
)
def test_invalid_options(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert sentence in last and len(last) < 400


def test_a_long_text_loses_its_middle():
    # 60 characters: 40 of the beginning, the dots, 17 of the end.
    assert shorten("a" * 60) == "a" * 60
    assert shorten("a" * 50 + "b" * 50) == "a" * 40 + "..." + "b" * 17
    assert shorten("a\n\x00\ud800\u2028é") == r"a\n\x00\ud800\u2028é"
    assert len(shorten("\0" * 10**6)) == 60


def test_no_message_is_longer_than_some_lines():
    assert 990 < len(str(ConfigError("x" * 10**6))) <= 1000
    assert str(ConfigError("one\ntwo")) == r"one\ntwo"


def test_numbers_with_their_nouns():
    found = [counted(number, "user") for number in (0, 1, 2000)]
    assert found == ["0 users", "1 user", "2,000 users"]
    assert counted(1, "list is", "lists are") == "1 list is"
    assert counted(2000, "list is", "lists are", form="") == "2000 lists are"
