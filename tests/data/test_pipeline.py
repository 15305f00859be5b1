"""The Beam pipelines on the DirectRunner write the same bytes as the local command."""

import functools
import importlib
import json
import sys
import warnings
from pathlib import Path

import polars as pl
import pytest

from tfrec_attn.config import Columns, Data
from tfrec_attn.data import pipeline
from tfrec_attn.data.reading.synthetic import synthetic
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepare_with_beam import prepare_with_beam
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.runtime.beam_runner import HOW_TO_GET_IT

RUNNER = ["--runner=DirectRunner"]
PROCESSES = [*RUNNER, "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
HEADER = "user_id\titem_id\ttimestamp\n"


@pytest.fixture(scope="module")
def beam():
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        beam = pytest.importorskip("apache_beam", reason=HOW_TO_GET_IT)
        # Beam inspects the methods of each function about ten times, which takes half of its time.
        userstate = importlib.import_module("apache_beam.transforms.userstate")
        patch.setattr(userstate, "get_dofn_specs", functools.cache(userstate.get_dofn_specs))
        yield beam


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


def assert_same_bytes(folder, logs, options, runner=RUNNER):
    """Both commands write the same folder from the same logs; returns its manifest as text."""
    data, to = Data(on_error="skip", **options), folder / "to"
    prepare_log(logs, to / "local", data, shards=2)
    prepare_with_beam(logs, to / "beam", data, 2, beam_options=runner)
    assert contents(to / "beam") == contents(to / "local")
    assert sorted(entry.name for entry in to.iterdir()) == ["beam", "local"]
    return (to / "local" / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore")
def test_filtered_logs_of_several_formats(beam, tmp_path, logs):
    assert_same_bytes(tmp_path, logs, {"min_user_events": 5, "min_item_events": 4})


UNIFIED = {"ids": "unify", "missing_ids": "drop", "duplicates": "drop"}
TEMPORAL = {"split": "temporal", "valid_from": 0.7, "test_from": 0.9}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("second", "options"),
    [("milliseconds", {**UNIFIED, **TEMPORAL}), ("dates", {})],
    ids=["milliseconds", "dates"],
)
def test_times_ids_and_copies_as_in_the_local_command(beam, tmp_path, options, second):
    files = [str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")]
    for number, path in enumerate(files):
        lines = []
        for row in range(60):
            user, time = f"{row % 7}{'.0' * (row % 3 == 0)}", 1_600_000_000 + row
            if number and second == "milliseconds" and row % 4:
                time *= 1000  # in most of this file, but not of the log
            if number and second == "dates":
                time = f"20{row // 10 + 10}-01-01"
            if row % 10 == 9:
                user, time = ("nan", -1) if row % 20 == 9 else ("NULL", time)
            lines += [f"{user}\ti{row % 5}\t{time}\n"] * (1 + row % 2)
        Path(path).write_text(HEADER + "".join(lines * (2 - number)), encoding="utf-8")
    manifest = assert_same_bytes(tmp_path, files, {"min_user_events": 1, **options})
    assert ('"duplicates": 0,' in manifest) == bool(options)
    assert ('"variants": 7' in manifest) == (not options)


TYPED = {
    "columns": Columns(event="kind", rating="stars"),
    "min_rating": 2.0,
    "event_weights": {"buy": 2.0, "view": 0.5, "swipe": 0.0},
    "repeats": "collapse",
}
CUT = {"session_gap": 50.0, "repeats": "collapse", "duplicates": "drop", "ids": "unify"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "least"),
    [(TYPED, (3, 9)), ({"columns": Columns(timestamp=None)}, (13, 1)), (CUT, (1, 19))],
    ids=["ratings and weights", "no times", "sessions"],
)
def test_each_filter_as_in_the_local_command(beam, tmp_path, options, least):
    """Users and items are filtered together, or users alone, or items alone."""
    header, files = "user_id\titem_id\ttimestamp\tstars\tkind\n", []
    for number in range(2):
        lines = []
        for row in range(80):
            user, item = f"u{row * row % 5}{'.0' * (row % 3 == 0)}", f"i{row // 3 % 7}"
            kind = ("view", "view", "buy", "swipe")[row % 4]
            time = 1_600_000_000 + 40 * (row // 2) + number * 2000
            lines.append(f"{user}\t{item}\t{time}\t{1 + row % 5}\t{kind}\n")
        files.append(str(tmp_path / f"{number}.tsv"))
        Path(files[-1]).write_text(header + "".join(lines), encoding="utf-8")
    options = {"min_user_events": least[0], "min_item_events": least[1], **options}
    manifest = json.loads(assert_same_bytes(tmp_path, files, options))
    assert manifest["before"]["events"] <= 160
    assert 20 < manifest["after"]["events"] < manifest["before"]["events"]


@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_parts_in_worker_processes(beam, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(3):
        rows = "".join(
            f"u{row % 2}\ti{row}\t{1_600_000_000 + 10 * number + row}\n"
            for row in range(4 if number != 1 else 0)
        )
        (folder / f"{number}.tsv").write_text(f"\n{HEADER}{rows}{HEADER}", encoding="utf-8")
    (folder / "_SUCCESS").touch()
    manifest = json.loads(
        assert_same_bytes(tmp_path, [str(folder)], {"min_user_events": 1}, PROCESSES)
    )
    assert manifest["logs"] == ["0.tsv", "1.tsv", "2.tsv"]
    assert (manifest["rejected"], manifest["before"]["events"]) == (3, 8)


@pytest.mark.filterwarnings("ignore")
def test_a_log_whose_lines_are_all_rejected(beam, tmp_path):
    (tmp_path / "a.tsv").write_text(HEADER * 2, encoding="utf-8")
    with pytest.raises(DataError, match=r"a.tsv holds no interactions: all 1 line was rejected"):
        prepare_with_beam(
            [str(tmp_path / "a.tsv")],
            tmp_path / "out",
            Data(on_error="skip"),
            beam_options=RUNNER,
        )


@pytest.mark.parametrize("found", [0, 2])
def test_results_that_the_workers_wrote_elsewhere(beam, tmp_path, found):
    from tfrec_attn.data.shards.beam_pipelines import BeamPipelines

    (tmp_path / "sizes").mkdir()
    for number in range(found):
        (tmp_path / "sizes" / f"{number}.json").write_text("5", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        BeamPipelines(Data(), str(tmp_path), None)._results("sizes", 3)
    assert str(caught.value) == (
        f"{tmp_path} must hold 3 results of the workers (sizes) but holds {found}: "
        "give --work a folder that the workers and this process share."
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
    assert "1 line could not be read" in capsys.readouterr().out
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
            match=r"out\.partial is not an unfinished prepared log of this program; move it away",
        ):
            prepare_with_beam(
                logs[1:2], tmp_path / "out", Data(), beam_options=RUNNER, restart=restart
            )
    assert [entry.read_text() for entry in (tmp_path / "out.partial").iterdir()] == ["mine"]


@pytest.mark.filterwarnings("ignore")
def test_different_units_and_nothing_left(beam, tmp_path):
    for name, time in (("a", 1_600_000_000), ("b", 1_600_000_000_000)):
        (tmp_path / f"{name}.tsv").write_text(f"{HEADER}u\ti\t{time}\n", encoding="utf-8")
    with pytest.raises(DataError, match="the times are of different units"):
        prepare_with_beam(
            [str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")],
            tmp_path / "out",
            Data(),
            beam_options=RUNNER,
        )
    with pytest.raises(DataError, match=r"gone.tsv cannot be read: No such file or directory\.$"):
        prepare_with_beam(
            [str(tmp_path / name) for name in ("a.tsv", "gone.tsv")],
            tmp_path / "out",
            Data(),
            beam_options=RUNNER,
        )
    with pytest.raises(DataError, match="leave nothing of 1 event of"):
        prepare_with_beam([str(tmp_path / "a.tsv")], tmp_path / "out", Data(), beam_options=RUNNER)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.tsv", "b.tsv"]


def test_without_beam(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert pipeline.main(["--input", "a.tsv", "--to", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"error: {HOW_TO_GET_IT}.\n"
    assert not list(tmp_path.iterdir())
