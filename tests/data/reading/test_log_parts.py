"""The files of a log: a file, a folder, a pattern and the home folder."""

import gzip
from dataclasses import asdict

import polars as pl
import pytest
from backports import zstd

from tfrec_attn.config import Columns, Config, Data
from tfrec_attn.data.quality.validation import validate
from tfrec_attn.data.reading.interactions import read_interactions
from tfrec_attn.data.reading.log_parts import all_parts, name_of, parts_of
from tfrec_attn.data.sequences.encoding import checksum
from tfrec_attn.data.shards import beam_files
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runs import run
from tfrec_attn.runs.run_dir import default_names

HEADER = "user_id,item_id,timestamp\n"


@pytest.fixture
def parts(tmp_path):
    """A folder of four parts with what Spark leaves beside them; the second has its columns in
    another order, the third no event.
    """
    folder = tmp_path / "parts"
    folder.mkdir()
    users = [f"u{number % 4}" for number in range(24)]
    lines = [
        f"{user},i{number % 7},{1_600_000_000 + number}\n" for number, user in enumerate(users)
    ]
    (folder / "part-0.csv").write_text(HEADER + "".join(lines[:8]))
    swapped = "".join(
        f"{item},{user},{time}\n"
        for user, item, time in (line.strip().split(",") for line in lines[8:16])
    )
    (folder / "part-1.csv.gz").write_bytes(
        gzip.compress(("\ufeffitem_id,user_id,timestamp\n" + swapped).encode())
    )
    (folder / "part-2.csv").write_bytes(b"")
    (folder / "part-3.csv.zst").write_bytes(zstd.compress((HEADER + "".join(lines[16:])).encode()))
    for name in ("_SUCCESS", ".part-0.csv.crc"):
        (folder / name).write_bytes(b"no log")
    whole = tmp_path / "whole.csv"
    whole.write_text(HEADER + "".join(lines))
    return folder, whole


def data(path, **options):
    return Data(
        source="file", path=str(path), min_user_events=1, max_length=2, targets=1, **options
    )


@pytest.mark.parametrize("timestamp", ["timestamp", None])
def test_parts_are_one_log(tmp_path, parts, monkeypatch, timestamp):
    folder, whole = parts
    monkeypatch.setenv("HOME", str(tmp_path))
    columns = Columns(timestamp=timestamp)
    expected = read_interactions(whole, columns=asdict(columns)).frame
    sequences = checksum(run.prepare_data(Config(data=data(whole, columns=columns))).sequences)
    for number, path in enumerate([folder, folder / "part-*", "~/parts", f"{tmp_path}/*/*.csv*"]):
        assert read_interactions(path, columns=asdict(columns)).frame.equals(expected)
        assert (
            checksum(run.prepare_data(Config(data=data(path, columns=columns))).sequences)
            == sequences
        )
        manifest = prepare_log(
            [str(path)], tmp_path / f"out-{number}", Data(min_user_events=1, columns=columns)
        )
        assert manifest.logs == ["part-0.csv", "part-1.csv.gz", "part-2.csv", "part-3.csv.zst"]
        assert checksum(PreparedLog(tmp_path / f"out-{number}").load().sequences) == sequences
    reports = [validate(data("x", columns=columns), logs=[str(path)]) for path in (folder, whole)]
    assert [report.pop("source") for report in reports] == [str(folder), str(whole)] and reports[
        0
    ] == reports[1]


def test_the_part_is_named(tmp_path, parts):
    folder, _ = parts
    (folder / "part-2.csv").write_text(HEADER + "u1,i1,never\n")
    with pytest.raises(DataError, match=r"parts/part-2.csv, line 2: expected the timestamp"):
        read_interactions(folder)
    result = read_interactions(folder, on_error="skip", rejected=tmp_path / "rejected.tsv")
    assert result.frame.height == 24 and result.rejected == 1
    assert (
        (tmp_path / "rejected.tsv")
        .read_text()
        .splitlines()[1]
        .startswith(f"{folder}/part-2.csv\t2\t")
    )
    prepare_log([str(folder)], tmp_path / "out", Data(min_user_events=1, on_error="skip"))
    assert (tmp_path / "out" / "rejected.tsv").read_text() == (
        tmp_path / "rejected.tsv"
    ).read_text()


def test_parquet_parts(tmp_path):
    for number in range(3):
        pl.DataFrame({"user_id": ["u"], "item_id": [number], "timestamp": [number]}).write_parquet(
            tmp_path / f"{number}.parquet"
        )
    assert read_interactions(tmp_path).frame["item_id"].to_list() == ["0", "1", "2"]
    (tmp_path / "1.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataError, match=r"/1.parquet cannot be read as Parquet"):
        read_interactions(tmp_path)


def test_folders_that_are_no_log(tmp_path, parts):
    folder, _ = parts

    def refusal(path):
        with pytest.raises((DataError, ConfigError)) as caught:
            all_parts(path if isinstance(path, list) else [str(path)])
        return str(caught.value)

    assert (
        refusal([str(folder), str(folder / "part-0.csv")]) == f"{folder}/part-0.csv is given twice."
    )
    assert (
        refusal(folder / "_*")
        == f"{folder}/_* holds no log files: those whose names begin with '.' or '_' are ignored."
    )
    (folder / "README.txt").write_text("about")
    assert refusal(folder).startswith(
        f"{folder} has parts of several formats, README.txt and part-0.csv: "
    )
    (folder / "README.txt").unlink()
    (folder / "a").mkdir()
    assert (
        refusal(folder)
        == f"{folder}/a is a folder in a log of parts: name the files by a pattern such as "
        f"'{tmp_path}/**/*.csv'."
    )
    assert refusal(tmp_path / ("x" * 300)).endswith("File name too long.")
    assert "does not exist" in refusal("~nobody-of-this-name/log.csv")


def test_a_pattern_in_the_name_of_a_file_is_its_name(tmp_path):
    (tmp_path / "a[1].csv").write_text(HEADER)
    assert parts_of(tmp_path / "a[1].csv") == [tmp_path / "a[1].csv"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("~/logs/events.tsv.gz", "events"),
        ("logs/day/", "day"),
        ("logs/day-*/part-?.csv", "logs"),
        ("*.csv", "log"),
        ("/", "log"),
    ],
)
def test_the_name_of_a_log(path, name):
    assert name_of(path) == name
    assert next(default_names(Config(data=Data(source="file", path=path)))).name == f"{name}-attrec"


def test_parts_for_beam(parts, monkeypatch):
    folder, _ = parts
    store = {
        "gs://b/day/part-0.csv",
        "gs://b/day/part-1.csv",
        "gs://b/day/_SUCCESS",
        "gs://b/one.csv",
    }

    def match(pattern):
        prefix = pattern.removesuffix("*")
        return sorted(
            one
            for one in store
            if (one.startswith(prefix) if prefix != pattern else one == pattern)
        )

    monkeypatch.setattr(beam_files, "files", match)
    local = [str(part) for part in parts_of(folder)]
    remote = ["gs://b/day/part-0.csv", "gs://b/day/part-1.csv"]
    found = beam_files.parts_of_logs(
        [str(folder), "gs://b/one.csv", "gs://b/day", "/elsewhere/a.csv"]
    )
    assert list(found.values()) == [local, ["gs://b/one.csv"], remote, ["/elsewhere/a.csv"]]
    assert beam_files.parts_of_logs(["gs://b/day/*"])["gs://b/day/*"] == remote
    with pytest.raises(ConfigError, match=r"part-0.csv is given twice"):
        beam_files.parts_of_logs(["gs://b/day", "gs://b/day/part-0.csv"])
    with pytest.raises(DataError, match=r"^gs://b/none does not exist: "):
        beam_files.parts_of_logs(["gs://b/none"])


def test_more_parquet_parts_than_fit_on_a_command_line(tmp_path):
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [1]}).write_parquet(
        tmp_path / "0.parquet"
    )
    for number in range(1, 600):
        (tmp_path / f"{'x' * 200}{number}.parquet").hardlink_to(tmp_path / "0.parquet")
    assert read_interactions(tmp_path).frame.height == 600
