"""The Beam pipelines on the DirectRunner write the same bytes as the local command."""

import sys
import warnings
from pathlib import Path

import polars as pl
import pytest

from tfrec_attn.config import Columns, Data
from tfrec_attn.data import pipeline
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.shards.beam_transforms import Event
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.errors import ConfigError, DataError

RUNNER = ["--runner=DirectRunner"]
HEADER = "user_id\titem_id\ttimestamp\n"


@pytest.fixture
def beam():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "apache_beam", reason="Apache Beam is not installed: make validate-env"
        )


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder, frame = tmp_path_factory.mktemp("logs"), synthetic(1_000, seed=4)
    half = frame.height // 2
    frame[half:].write_parquet(folder / "b.parquet")
    text = frame[:half].write_csv(separator="\t")
    (folder / "a.tsv").write_text(text + "u1\ti1\tnever\n", encoding="utf-8")
    frame[:5].with_columns(timestamp=pl.col("timestamp") + 0.5).write_parquet(folder / "c.parquet")
    return [str(folder / name) for name in ("a.tsv", "b.parquet", "c.parquet")]


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in Path(folder).iterdir()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("files", "options"),
    [
        (3, {"min_user_events": 9, "min_item_events": 7}),
        (2, {"min_user_events": 1, "split": "temporal", "valid_from": 0.7, "test_from": 0.9}),
    ],
    ids=["filter", "temporal"],
)
def test_the_folder_has_the_same_bytes(beam, tmp_path, logs, files, options):
    data = Data(on_error="skip", **options)
    prepare_log(logs[:files], tmp_path / "local", data, shards=3)
    pipeline.prepare_with_beam(logs[:files], tmp_path / "beam", data, 3, beam_options=RUNNER)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["beam", "local"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("second", "options"),
    [
        ("seconds", {}),
        ("milliseconds", {"ids": "unify", "missing_ids": "drop", "duplicates": "drop"}),
        ("dates", {"duplicates": "drop"}),
    ],
    ids=["seconds", "milliseconds", "dates"],
)
def test_times_ids_and_copies_as_in_the_local_command(beam, tmp_path, options, second):
    files = [str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")]
    for number, path in enumerate(files):
        lines = []
        for row in range(60):
            user, time = f"{row % 7}{'.0' * (row % 3 == 0)}", 1_600_000_000 + row
            if (
                number and second == "milliseconds" and row % 4
            ):  # most of the file, but not of the log
                time *= 1000
            if number and second == "dates":
                time = f"20{row // 10 + 10}-01-01"
            if row % 10 == 9:
                user, time = ("nan", -1) if row % 20 == 9 else ("NULL", time)
            lines += [f"{user}\ti{row % 5}\t{time}\n"] * (1 + row % 2)
        Path(path).write_text(HEADER + "".join(lines * (2 - number)), encoding="utf-8")
    data = Data(on_error="skip", min_user_events=2, **options)
    prepare_log(files, tmp_path / "local", data, shards=2)
    pipeline.prepare_with_beam(files, tmp_path / "beam", data, 2, beam_options=RUNNER)
    assert contents(tmp_path / "beam") == contents(tmp_path / "local")
    manifest = (tmp_path / "local" / "manifest.json").read_text(encoding="utf-8")
    assert ('"duplicates": 0,' in manifest) == bool(options) and ('"variants": 7' in manifest) == (
        "ids" not in options
    )


@pytest.mark.filterwarnings("ignore")
def test_the_command_and_its_errors(beam, tmp_path, logs, capsys):
    arguments = ["--input", logs[0], "--to", str(tmp_path / "out"), *RUNNER]
    assert pipeline.main(arguments) == 2
    assert f"{logs[0]}, line " in capsys.readouterr().err and not list(tmp_path.iterdir())
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "files").write_text("mine")
    assert (
        pipeline.main(
            [*arguments, "data.on_error=skip", "--work", str(tmp_path / "work"), "--shards", "1"]
        )
        == 0
    )
    assert "1 lines could not be read" in capsys.readouterr().out
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "work"]
    assert [entry.read_text() for entry in (tmp_path / "work").iterdir()] == ["mine"]
    assert pipeline.main([*arguments, "data.on_error=skip"]) == 2
    assert "out exists; name a new one, or give --restart" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_foreign_folder_stays(beam, tmp_path, logs):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "users.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(
            ConfigError,
            match=r"out\.partial is no unfinished prepared log of this program; move it away",
        ):
            pipeline.prepare_with_beam(
                logs[1:2], tmp_path / "out", Data(), beam_options=RUNNER, restart=restart
            )
    assert [entry.read_text() for entry in (tmp_path / "out.partial").iterdir()] == ["mine"]


@pytest.mark.filterwarnings("ignore")
def test_different_units_and_nothing_left(beam, tmp_path):
    for name, time in (("a", 1_600_000_000), ("b", 1_600_000_000_000)):
        (tmp_path / f"{name}.tsv").write_text(f"{HEADER}u\ti\t{time}\n", encoding="utf-8")
    with pytest.raises(DataError, match="the times are of different units"):
        pipeline.prepare_with_beam(
            [str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")],
            tmp_path / "out",
            Data(),
            beam_options=RUNNER,
        )
    with pytest.raises(DataError, match="leave nothing of 1 events"):
        pipeline.prepare_with_beam(
            [str(tmp_path / "a.tsv")], tmp_path / "out", Data(), beam_options=RUNNER
        )
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.tsv", "b.tsv"]


def test_without_beam(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert pipeline.main(["--input", "a.tsv", "--to", str(tmp_path / "out")]) == 2
    assert (
        capsys.readouterr().err
        == "error: Apache Beam is not installed: make validate-env sets up an environment that "
        "has it.\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_log_without_times(tmp_path):
    with pytest.raises(ConfigError, match="needs the lines in their order"):
        pipeline.prepare_with_beam(
            ["a.tsv"], tmp_path / "out", Data(columns=Columns(timestamp=None))
        )


def test_event_types_are_refused_with_beam(tmp_path):
    with pytest.raises(ConfigError, match=r"^data.columns.event does not go through Beam: .*\.$"):
        pipeline.prepare_with_beam(["a.tsv"], tmp_path / "out", Data(columns=Columns(event="kind")))
    assert not list(tmp_path.iterdir())


def test_event_filters_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^data.min_rating and data.event_types do not go through Beam: .*\.$"
    ):
        pipeline.prepare_with_beam(
            ["a.tsv"], tmp_path / "out", Data(columns=Columns(rating="stars"), min_rating=3.0)
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("time", [5, -5, 10**18, 0.1, 1.6e9 + 1 / 3, 1e22])
def test_events_as_lines_of_text(time):
    event = Event("a user", 'an item, "quoted"', time, 1 << 45)
    parsed = Event.parse(event.line())
    assert parsed == event and type(parsed.time) is type(time)


@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_parts_gives_the_same_bytes(beam, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(3):
        rows = "".join(
            f"u{row % 2}\ti{row}\t{1_600_000_000 + 10 * number + row}\n"
            for row in range(4 if number != 1 else 0)
        )
        (folder / f"{number}.tsv").write_text(f"\n{HEADER}{rows}{HEADER}", encoding="utf-8")
    (folder / "_SUCCESS").touch()
    data = Data(on_error="skip", min_user_events=1)
    for number, path in enumerate([folder, folder / "*.tsv"]):
        manifest = prepare_log([str(path)], tmp_path / f"local-{number}", data, shards=2)
        pipeline.prepare_with_beam(
            [str(path)], tmp_path / f"beam-{number}", data, 2, beam_options=RUNNER
        )
        assert contents(tmp_path / f"beam-{number}") == contents(tmp_path / f"local-{number}")
        assert (
            manifest.logs == ["0.tsv", "1.tsv", "2.tsv"]
            and manifest.rejected == 3
            and manifest.before["events"] == 8
        )
    with pytest.raises(DataError, match=r"1.tsv holds no interactions: all 1 lines were rejected"):
        pipeline.prepare_with_beam(
            [str(folder / "1.tsv")], tmp_path / "out", data, beam_options=RUNNER
        )
