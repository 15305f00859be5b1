"""Headers of text logs, which are never events, and separators."""

import gzip

import pytest
from backports import zstd

from tfrec_attn.data.reading.interactions import read_interactions, read_slices
from tfrec_attn.errors import ConfigError, DataError

NO_TIMES = {"columns": {"timestamp": None}}
PAIRS = [("u1", "i1"), ("u2", "i2")]


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def both(path, **options):
    """The pairs that are read and the lines that are left out, the same whole and in parts."""
    result = read_interactions(path, on_error="skip", **options)
    pairs = result.frame.select("user_id", "item_id").rows()
    for size in (1, 20, 1000):
        parts = list(read_slices(path, on_error="skip", slice_bytes=size, **options))
        assert [
            pair for frame, _ in parts for pair in frame.select("user_id", "item_id").rows()
        ] == pairs
        assert sum(len(bad) for _, bad in parts) == result.rejected
    return pairs, [(entry.line, entry.reason) for _, bad in parts for entry in bad]


def refusal(path, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        read_interactions(path, **options)
    with pytest.raises(kind) as again:
        list(read_slices(path, **options))
    assert str(caught.value) == str(again.value) and str(caught.value).endswith(".")
    return str(caught.value)


LOG = "user_id,item_id\nu1,i1\nu2,i2\n"


@pytest.mark.parametrize(
    "before", ["", "\n", "\r\n", "\n\n\r\n", "\ufeff", "\ufeff\n", "\n\ufeff\n", "\n" * 200]
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("name", "separator", "header"),
    [
        ("a.csv", ",", LOG),
        ("a.tsv", "\t", LOG),
        ("a.inter", "\t", "user_id:token,item_id:token\nu1,i1\nu2,i2\n"),
    ],
)
def test_text_before_a_bad_line(tmp_path, before, ends, name, separator, header):
    text = (before + header.replace("\n", ends).replace(",", separator)).encode()
    for suffix, pack in (("", bytes), (".gz", gzip.compress), (".zst", zstd.compress)):
        assert both(write(tmp_path, name + suffix, pack(text)), **NO_TIMES) == (PAIRS, [])


@pytest.mark.parametrize(
    "first", ["user_id,item_id,note\nu1,i1,n\n", '"user_id","item_id","note"\r\n"u1","i1","n"\r\n']
)
@pytest.mark.parametrize(
    "second",
    [
        "user_id,item_id,note\nu2,i2,n\n",
        "\ufeffuser_id,item_id,note\r\nu2,i2,n\r\n",
        "User_ID,ITEM_ID,NOTE\nu2,i2,n\n",
        '"user_id",item_id,other\nu2,i2,n\n',
    ],
)
def test_concatenated_files(tmp_path, first, second):
    expected = (PAIRS, [(3, "expected an event, got the header again")])
    assert both(write(tmp_path, "a.csv", first + second), **NO_TIMES) == expected
    for suffix, pack in ((".gz", gzip.compress), (".zst", zstd.compress)):
        members = pack(first.encode()) + pack(second.encode())
        assert both(write(tmp_path, f"a.csv{suffix}", members), **NO_TIMES) == expected
    message = refusal(tmp_path / "a.csv", **NO_TIMES)
    assert message.endswith(
        "line 3: expected an event, got the header again; correct it, or leave such lines out "
        "with data.on_error=skip."
    )


def test_concatenated_typed_files(tmp_path):
    text = "user_id:token\titem_id:token\nu1\ti1\nuser_id:token_seq\titem_id:token\nu2\ti2\n"
    assert both(write(tmp_path, "a.inter", text), **NO_TIMES) == (
        PAIRS,
        [(3, "expected an event, got the header again")],
    )


def test_a_header_of_another_order_is_refused_even_with_skip(tmp_path):
    path = write(tmp_path, "a.tsv", "user_id\titem_id\nu1\ti1\nitem_id\tuser_id\ni2\tu2\n")
    expected = (
        f"{path}, line 3: the header again with its columns in another order: "
        "give each file on its own."
    )
    assert refusal(path, on_error="skip", **NO_TIMES) == expected


def test_ids_that_equal_one_column_name_are_ids(tmp_path):
    text = "user,item,note\nuser,i1,n\nu2,item,n\nnote,note,n\n"
    columns = {"user": "user", "item": "item", "timestamp": None}
    assert both(write(tmp_path, "a.csv", text), columns=columns) == (
        [("user", "i1"), ("u2", "item"), ("note", "note")],
        [],
    )


@pytest.mark.parametrize(
    "header",
    ["user_id,item_id", "userId,movieId", "\ufeffUser ID,Item ID", "\nuser,item", "who,what"],
)
def test_names_for_a_file_that_has_a_header(tmp_path, header):
    path = write(tmp_path, "a.csv", f"{header}\nu1,i1\n")
    line = 2 if header.startswith("\n") else 1
    columns = {"user": "who", "item": "what", "timestamp": None}
    message = refusal(path, names=["who", "what"], columns=columns)
    assert message == f"{path}, line {line}: expected an event, got a header: leave out data.names."
    assert both(
        write(tmp_path, "b.csv", "u1,i1\nu2,i2\n"), names=["who", "what"], columns=columns
    ) == (PAIRS, [])


def test_a_header_in_a_format_without_headers(tmp_path):
    path = write(tmp_path, "a.dat", "userId::movieId::rating::timestamp\nu1::i1::5::1\n")
    assert (
        refusal(path)
        == f"{path}, line 1: expected an event, got a header: give data.format, or delete that "
        "line."
    )


@pytest.mark.parametrize("name", ["semicolon", "pipe", "space", "tab", "comma", "^"])
def test_separators(tmp_path, name):
    character = {"semicolon": ";", "pipe": "|", "space": " ", "tab": "\t", "comma": ","}.get(
        name, name
    )
    text = f'user_id{character}item_id\nu1{character}"i{character}1"\nu2{character}i2\n'
    path = write(tmp_path, "a.csv", text)
    expected = [("u1", f"i{character}1"), ("u2", "i2")] if name != "tab" else [("u2", "i2")]
    assert both(path, separator=name, **NO_TIMES)[0] == expected
    assert both(path, separator=character, **NO_TIMES)[0] == expected
    if name in ("semicolon", "pipe", "space", "tab"):
        message = refusal(path, **NO_TIMES)
        assert message.endswith(
            f"its fields are separated by {name}s, so give data.separator={name}."
        )


@pytest.mark.parametrize("separator", ["", "::", '"', "a", "0", "\n", "\r", "\0", "é"])
def test_wrong_separators(tmp_path, separator):
    message = refusal(write(tmp_path, "a.csv", LOG), ConfigError, separator=separator, **NO_TIMES)
    assert (
        message == "data.separator must be one of comma, semicolon, pipe, tab, space or a single "
        f"character, got {separator!r}."
    )
