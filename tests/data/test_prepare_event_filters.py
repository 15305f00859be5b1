"""Event filters of a preparation: they drop what they drop in memory."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.data.preparing import contents, refused, synthetic_log
from tfrec_attn.config import Columns, Config, Data, from_dict
from tfrec_attn.data.prepare import main
from tfrec_attn.data.sequences.encoding import checksum
from tfrec_attn.data.shards import coded_log, prepare_locally
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.errors import ConfigError
from tfrec_attn.runs import run

TYPES = Columns(rating="stars", event="kind")


@pytest.fixture(scope="module")
def frame():
    return synthetic_log()


@pytest.fixture(scope="module")
def rated(frame):
    """The log with types and ratings.

    One of the three types is only in the last third. Only times of low ratings have fractions.
    """
    row = np.arange(frame.height)
    kind = np.where(
        (row * 3 > 2 * len(row)) & (row % 3 == 0), "cart", np.where(row % 2, "view", "buy")
    )
    stars = row * 7 % 5 + 1
    times = frame["timestamp"].to_numpy() + 0.5 * (stars == 1)
    return frame.with_columns(
        timestamp=pl.Series(times), stars=pl.Series(stars), kind=pl.Series(kind)
    )


@pytest.mark.parametrize(
    ("filters", "times"),
    [
        ({"min_rating": 3.0}, "timestamp"),
        ({"event_types": ["cart", "buy"]}, "timestamp"),
        ({"min_rating": 2.0, "event_types": ["buy"]}, None),
        ({"session_gap": 30_000.0, "duplicates": "drop", "repeats": "collapse"}, "timestamp"),
        ({"repeats": "collapse", "event_weights": {"buy": 2.0, "view": 0.5, "cart": 0.0}}, None),
    ],
)
def test_event_filters_as_in_memory(tmp_path, rated, monkeypatch, filters, times):
    if "repeats" in filters:
        again = rated.with_columns(timestamp=pl.col("timestamp") + 0.25)
        rated = pl.concat([rated, rated[:9], again]).sort("timestamp", maintain_order=True)
    size = -(-rated.height // 3)
    for piece in range(3):
        rated[piece * size : (piece + 1) * size].write_csv(tmp_path / f"{piece}.csv")
    rated.write_csv(tmp_path / "whole.csv")
    data = Data(min_user_events=4, columns=replace(TYPES, timestamp=times), **filters)
    logs = [str(tmp_path / f"{piece}.csv") for piece in range(3)]
    prepare_log(logs, tmp_path / "out", data, shards=3)
    expected = run.prepare_data(
        Config(
            data=replace(
                data, source="file", path=str(tmp_path / "whole.csv"), max_length=2, targets=1
            )
        )
    )

    prepared = PreparedLog(tmp_path / "out")
    found = prepared.load()
    assert checksum(found.sequences) == checksum(expected.sequences)
    assert found.sequences.timestamps.tolist() == expected.sequences.timestamps.tolist()
    assert (found.sequences.weights is None) == ("event_weights" not in filters)
    assert found.sequences.timestamps.dtype == expected.sequences.timestamps.dtype
    assert prepared.report() == expected.report
    assert prepared.report().selection.events == rated.height
    dropped = rated.height - prepared.report().before.events
    assert dropped > 0
    if "session_gap" in filters:
        assert prepared.report().before.users > rated["user_id"].n_unique()

    reader, size = prepare_locally.read_slices, 3_333 if "repeats" in filters else 333
    monkeypatch.setattr(
        prepare_locally,
        "read_slices",
        lambda *args, **options: reader(*args, **options, slice_bytes=size),
    )
    monkeypatch.setattr(coded_log, "BUCKET", 3_000)
    prepare_log(logs, tmp_path / "again", data, shards=3)
    assert contents(tmp_path / "again") == contents(tmp_path / "out")
    if "event_weights" in filters:
        streamed = from_dict({"data": {"source": str(tmp_path / "out"), "cache": "stream"}})
        with pytest.raises(ConfigError, match=r"has event weights, .*: set data.cache=memory\.$"):
            run.prepare_data(streamed)


def test_event_filters_by_the_command(tmp_path, rated, capsys):
    rated.write_csv(tmp_path / "log.csv")
    arguments = [
        str(tmp_path / "log.csv"),
        "data.columns.rating=stars",
        "data.min_rating=2",
        "--to",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    dropped = rated.filter(pl.col("stars") < 2).height
    assert capsys.readouterr().out.startswith(
        f"{rated.height} events; {dropped} with a low rating left out.\n{rated.height - dropped} "
        "events"
    )
    source = {"source": str(tmp_path / "out"), "columns": {"rating": "stars"}}
    assert (
        run.prepare_data(
            from_dict({"data": {**source, "min_rating": 2}})
        ).report.selection.low_ratings
        == dropped
    )
    with pytest.raises(
        ConfigError, match=r"^data.min_rating is 3.0, but .* was prepared with 2.0: "
    ):
        run.prepare_data(from_dict({"data": {**source, "min_rating": 3}}))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"min_rating": 6.0}, "the event filters of the data section leave nothing of "),
        (
            {"event_types": ["buy", "veiw"]},
            "data.event_types names 'veiw' (did you mean 'view'?), but the event types of the log "
            "are buy, cart, view.",
        ),
    ],
)
def test_event_filters_that_are_refused(tmp_path, rated, filters, message):
    rated.write_csv(tmp_path / "log.csv")
    assert message in refused([tmp_path / "log.csv"], tmp_path, Data(columns=TYPES, **filters))


def test_a_manifest_without_event_filters(tmp_path, frame):
    frame.write_csv(tmp_path / "log.csv")
    prepare_log([str(tmp_path / "log.csv")], tmp_path / "out", Data())
    path = tmp_path / "out" / "manifest.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    assert tree.pop("selection") is None
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert PreparedLog(tmp_path / "out").report().selection is None
