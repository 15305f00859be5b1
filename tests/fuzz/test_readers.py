"""Damaged and odd logs of every format, read whole and in slices.

They give events and rejected lines, or one error message. TFREC_FUZZ multiplies the number of
examples.
"""

import csv
import gzip
import io
import os
import random
from dataclasses import dataclass

import polars as pl
import pytest
from backports import zstd

from tfrec_attn.data.reading.interactions import read_interactions, read_slices
from tfrec_attn.errors import TfrecError

FACTOR = float(os.environ.get("TFREC_FUZZ", "1"))
SEPARATOR = {"csv": ",", "tsv": "\t", "inter": "\t", "dat": "::", "data": "\t"}
PACK = {"": bytes, ".gz": lambda text: gzip.compress(text, 1, mtime=0), ".zst": zstd.compress}
IDS = ["u1", "i2", "007", "é", "a b", "x:y", "user", "nan"]
TIMES = ["1600000000", "1600000005", "1600000009"]
TOKENS = [
    b'"',
    b'""',
    b"\n",
    b"\r\n",
    b"\r",
    b"\n\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\t",
    b",",
    b"::",
    b":",
    b";",
    b"|",
    b" ",
    b"\xff",
    b"\xc3",
    b"u1",
]


def count(examples):
    return max(1, round(examples * FACTOR))


@dataclass
class Log:
    """A sound log: its options, its header line or nothing, and its text."""

    kind: str
    options: dict
    header: bytes
    text: bytes


def sound_log(draw, kind, times):
    columns = (
        ["user_id", "item_id", "rating", "timestamp"]
        if kind in ("dat", "data")
        else ["user_id", "item_id"] + ["timestamp"] * times
    )
    if kind not in ("dat", "data"):
        columns += ["note"] * draw.randint(0, 1)
        draw.shuffle(columns)
    named = [f"{name}:token" for name in columns] if kind == "inter" else columns
    ids = (
        [*IDS, "a,b", 'say "hi"', "", "two\nlines"]
        if kind == "csv" and draw.random() < 0.6
        else IDS
    )
    values = {
        "user_id": ids,
        "item_id": ids,
        "timestamp": TIMES,
        "rating": ["5"],
        "note": [*ids, ""],
    }
    rows = [[draw.choice(values[name]) for name in columns] for _ in range(draw.randint(1, 12))]
    ends = draw.choice(["\n", "\r\n"])
    if kind == "csv":
        out = io.StringIO()
        writer = csv.writer(
            out, lineterminator=ends, quoting=draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        )
        lines = [
            (writer.writerow(row), out.getvalue(), out.seek(0), out.truncate())[1]
            for row in (named, *rows)
        ]
    else:
        lines = [SEPARATOR[kind].join(row) + ends for row in (named, *rows)]
    header = "" if kind in ("dat", "data") else lines[0]
    options = {} if times else {"columns": {"timestamp": None}}
    return Log(kind, options, header.encode(), "".join([header, *lines[1:]]).encode())


def mutated(draw, text, header, changes):
    """Returns a text with changes as in files that are concatenated, truncated or damaged."""
    for _ in range(changes):
        place = draw.randint(0, len(text))
        change = draw.choice(["token", "flip", "cut", "drop", "twice", "header", "bom", "blank"])
        if change == "token":
            text = text[:place] + draw.choice(TOKENS) + text[place:]
        elif change == "flip" and place < len(text):
            text = text[:place] + bytes([text[place] ^ 1 << draw.randint(0, 7)]) + text[place + 1 :]
        elif change == "cut":
            text = text[:place] if draw.random() < 0.5 else text[place:]
        elif change == "drop":
            text = text[:place] + text[place + draw.randint(1, 5) :]
        elif change == "twice":
            text += text[place:]
        elif change == "header":
            end = text.find(b"\n", place) + 1
            text = text[:end] + header + text[end:]
        elif change == "bom":
            text = b"\xef\xbb\xbf" + text
        elif change == "blank":
            text = draw.choice([b"\n", b"\r\n", b"\n\n"]) + text
    return text


def outcome(read):
    """Returns what `read` returns, or its error message."""
    try:
        return read()
    except TfrecError as error:
        message = str(error)
        assert (
            "\n" not in message
            and message.endswith(".")
            and len(message) < 1500
            and error.exit_code == 2
        )
        return message


def whole(path, folder, **options):
    result = read_interactions(path, rejected=folder / "rejected.tsv", on_error="skip", **options)
    lines = (folder / "rejected.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    assert len(lines) == result.rejected
    return result.frame, [
        (int(number), reason) for _, number, reason, _ in (line.split("\t") for line in lines)
    ]


def sliced(path, size, **options):
    parts = list(read_slices(path, slice_bytes=size, on_error="skip", **options))
    frames = [frame for frame, _ in parts if frame.height]
    if not frames:
        return None, []
    frame = pl.concat(frames, how="vertical_relaxed")
    if "timestamp" not in frame.columns:
        frame = frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64))
    return frame, [(entry.line, entry.reason) for _, bad in parts for entry in bad]


def require_the_same(found, parts):
    """Checks that a log gives the same whole and in slices; only the former needs an event."""
    if isinstance(found, str) and ("holds no interactions" in found or "is empty" in found):
        assert parts[0] is None
    elif isinstance(found, str) or isinstance(parts, str):
        assert found == parts
    else:
        assert found[0].rows() == parts[0].rows() and [line for line, _ in found[1]] == [
            line for line, _ in parts[1]
        ]


def naive(log, text):
    """Returns users and items of the events of a simple text, or None if the text is not simple."""
    try:
        simple = text.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    if any(one in simple for one in '"\0\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\ufeff'):
        return None
    lines = [line.split(SEPARATOR[log.kind]) for line in simple.split("\n") if line]
    names = ["user_id", "item_id", "rating", "timestamp"]
    if log.header:
        if lines[:1] != [log.header.decode().rstrip("\r\n").split(SEPARATOR[log.kind])]:
            return None
        names = [name.split(":")[0] for name in lines[0]] if log.kind == "inter" else lines[0]
    repeated = lines[0]
    user, item = names.index("user_id"), names.index("item_id")
    if not log.header and {"user", "user_id", "item_id"} & set(lines[0]):
        return None
    good = [
        line
        for line in lines[bool(log.header) :]
        if len(line) == len(names)
        and not (log.header and (line[user], line[item]) == (repeated[user], repeated[item]))
    ]
    return [
        (line[user], line[item])
        for line in good
        if line[user].strip() and line[item].strip() and "\t" not in line[user] + line[item]
    ]


@pytest.mark.filterwarnings("ignore:Polars found a filename")
@pytest.mark.parametrize("kind", SEPARATOR)
def test_texts(tmp_path, kind):
    draw, seen = random.Random(f"texts {kind}"), 0
    for _ in range(count(30)):
        log = sound_log(draw, kind, times=draw.random() < 0.3)
        text = mutated(draw, log.text, log.header or b"u1::i2::5::1600000000\n", draw.randint(0, 3))
        suffix = draw.choice(list(PACK))
        path = tmp_path / f"log.{kind}{suffix}"
        path.write_bytes(PACK[suffix](text))
        found = outcome(lambda path=path, log=log: whole(path, tmp_path, **log.options))
        for size in (1, draw.randint(2, 60), 1000):
            require_the_same(
                found,
                outcome(lambda path=path, size=size, log=log: sliced(path, size, **log.options)),
            )
        if (
            log.options
            and not isinstance(found, str)
            and (expected := naive(log, text)) is not None
        ):
            seen += 1
            assert found[0].select("user_id", "item_id").rows() == expected
    assert seen


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_compression(tmp_path, suffix):
    draw = random.Random(f"compression {suffix}")
    for _ in range(count(30)):
        log = sound_log(draw, draw.choice(list(SEPARATOR)), times=True)
        packed = PACK[suffix](log.text * draw.choice([1, 50]))
        path = tmp_path / f"log.{log.kind}{suffix}"
        path.write_bytes(mutated(draw, packed, PACK[suffix](log.text), draw.randint(1, 2)))
        found = outcome(lambda path=path: whole(path, tmp_path))
        require_the_same(found, outcome(lambda path=path: sliced(path, 1000)))


def test_junk(tmp_path):
    draw = random.Random("junk")
    for _ in range(count(20)):
        path = tmp_path / f"log.{draw.choice([*SEPARATOR, 'csv.gz', 'tsv.zst'])}"
        alphabet = draw.choice(
            [bytes(range(256)), b'a,"\n', b"\n", b"\0", b"a\t\n", b"::\n", b" \r\n"]
        )
        path.write_bytes(bytes(draw.choice(alphabet) for _ in range(draw.randint(0, 400))))
        for names in (None, ["user_id", "item_id"]):
            options = {"names": names, "columns": {"timestamp": None}}
            found = outcome(lambda path=path, options=options: whole(path, tmp_path, **options))
            require_the_same(
                found, outcome(lambda path=path, options=options: sliced(path, 7, **options))
            )


def odd_columns(draw):
    """Returns a column of one of the types of Parquet."""
    values = draw.choice(
        [
            ["a", None],
            [1, 2],
            [1.5, None],
            [True, False],
            [[1], [2, 3]],
            [{"a": 1}, {"a": 2}],
            [b"x", b"\xff"],
            [None, None],
        ]
    )
    series = pl.Series(values * draw.choice([1, 40]))
    if series.dtype == pl.Int64:
        series = series.cast(
            draw.choice(
                [
                    pl.UInt64,
                    pl.Int8,
                    pl.Date,
                    pl.Time,
                    pl.Datetime("ns"),
                    pl.Duration,
                    pl.Decimal(20, 2),
                ]
            )
        )
    return series


def test_parquet(tmp_path):
    draw, path = random.Random("parquet"), tmp_path / "log.parquet"
    for number in range(count(3)):
        frame = pl.DataFrame({"user_id": IDS, "item_id": IDS, "timestamp": range(8)})
        if number % 3 == 0:
            columns = [odd_columns(draw) for _ in range(3)]
            size = min(map(len, columns))
            frame = pl.DataFrame(
                [
                    column[:size].alias(name)
                    for name, column in zip(frame.columns, columns, strict=True)
                ]
            )
        compression = draw.choice(["zstd", "snappy", "gzip", "lz4", "uncompressed"])
        frame.write_parquet(path, compression=compression, row_group_size=draw.choice([3, 100]))
        if number % 3:
            data = bytearray(path.read_bytes())
            footer = int.from_bytes(data[-8:-4], "little") + 8
            for _ in range(draw.randint(1, 4)):
                place = (
                    draw.randrange(len(data) - footer, len(data))
                    if draw.random() < 0.7
                    else draw.randrange(len(data))
                )
                data[place] = draw.choice(
                    [data[place] ^ 1 << draw.randint(0, 7), draw.randint(0, 255), 255]
                )
            end = draw.choice([len(data), len(data), draw.randrange(len(data))])
            path.write_bytes(bytes(data[:end]) + draw.choice([b"", b"", b"more"]))
        found = outcome(lambda: whole(path, tmp_path))
        require_the_same(found, outcome(lambda: sliced(path, 16 * draw.choice([3, 100]))))
