"""Which numbers and dates are the times of a log, worked out by hand."""

import datetime

import polars as pl
import pytest

from tfrec_attn.data.reading.interactions import read_interactions
from tfrec_attn.data.reading.time_parsing import parse
from tfrec_attn.data.reading.time_rule import FileTimes, LogTimes, MixedTimes
from tfrec_attn.errors import DataError

NOW = 1_700_000_000
DAY = 86_400


def taken(cells):
    """Which cells of a file are times."""
    parsed = parse(pl.Series(cells))
    return FileTimes.of(parsed).rule().times(parsed).is_not_null().to_list()


@pytest.mark.parametrize(
    "cells",
    [
        [NOW, NOW - 10**9, NOW + 10**8],
        [NOW * 1000, NOW * 1000 + 1, 631_152_000_000],  # milliseconds from 1990
        [NOW * 10**6, NOW * 10**6 + 1],
        [NOW * 10**9, NOW * 10**9 + 1],
        [NOW + 0.25, NOW + 0.5],
        [0, 1, 2, 3],
        [0, 0, 0],
        [0, 5, 10**6],  # a counter may leap
        [19_700, 19_701],  # days since 1970
        [20240101, 20240102],
        list(range(0, 5 * 10**8, 10**6)),  # a counter that grows beyond a hundred million
        [k * 200 * DAY for k in range(100)],  # seconds from 1970 to 2024
        [k * 200 * DAY * 1000 for k in range(1, 100)],  # the same in milliseconds
        ["1969-07-20", "1969-07-21T02:56:15Z", "2024-01-01"],
        [datetime.date(1923, 1, 1), datetime.date(2024, 1, 1)],
        ["0.5", "1.5"],
    ],
)
def test_logs_of_one_kind(cells):
    assert all(taken(cells))


@pytest.mark.parametrize(
    ("most", "misfits"),
    [
        ([NOW, NOW + 1, NOW + 2], [NOW * 1000]),
        (
            [NOW] * 300,
            [NOW * 1000, NOW * 1000 + 1, NOW * 10**6, NOW * 10**9],
        ),  # few, but sorted in they would be the last events
        ([NOW * 1000] * 3, [NOW, NOW + 1]),
        ([NOW] * 5, [0, -1, 1, 3600, DAY, 10**7]),  # "unknown", also by the clocks of time zones
        ([NOW], [0, 0, 0, -1, -1]),  # nobody votes by "unknown"
        ([float(NOW)] * 3, [253_402_300_799.0, 1e22]),  # the year 9999
        ([0, 1, 2], [-1]),
        ([5, 6, 7], [NOW]),
        ([], [-1, -2]),
        (["2024-01-01", "1969-01-01"], ["7"]),
        (["7", "8"], ["2024-01-01", "2024-01-02"]),
        (["2024-01-01"], ["0", "0", "-1"]),
        (["2024-01-01", "2024-01-02"], [str(NOW), "-1"]),
    ],
)
def test_options_that_do_not_fit(most, misfits):
    assert taken(most + misfits) == [True] * len(most) + [False] * len(misfits)


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (["1700000000", "1700000000", "1700000000000"], "the times are of different units, "
                                                        "expected seconds as in most of the log, "
         "got '1700000000000' (milliseconds by its size)"),
        (["1700000000", "1700000000", "12"], "the times are of different units, expected seconds "
                                             "as in most of the log, "
         "got '12' (small as a counter by its size)"),
        (["1700000000", "1700000000", "0"], "expected seconds as in most of the log, got '0', "
                                            "which is not a time"),
        (["1", "2", "-1"], "expected a timestamp that is not negative, got '-1'"),
        (["2024-01-01", "2024-01-01", "7"], "expected the timestamp as a date, as in most of the "
                                            "file, got the number '7'"),
        (["7", "7", "2024-01-01"], "expected the timestamp as a number, as in most of the file, "
                                   "got the date '2024-01-01'"),
    ],
)  # fmt: skip
def test_the_reason_is_told(tmp_path, times, reason):
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"u,i,{time}\n" for time in times))
    with pytest.raises(DataError) as caught:
        read_interactions(path)
    assert (
        str(caught.value)
        == f"{path}, line 4: {reason}; correct it, or leave such lines out with data.on_error=skip."
    )


def log_of(**files):
    return LogTimes({name: FileTimes.of(parse(pl.Series(cells))) for name, cells in files.items()})


def test_files_of_a_log_have_one_unit():
    dates = ["2024-01-01", "1969-01-01"]
    log_of(a=[NOW, NOW], b=dates).require_one_kind()  # dates are seconds
    for files in (
        {"a": [NOW] * 3, "b": [NOW * 1000]},
        {"a": [NOW * 1000] * 3, "b": dates},
        {"a": [1, 2, 3], "b": dates},
    ):
        log = log_of(**files)
        with pytest.raises(MixedTimes):
            log.require_one_kind()
    assert not log.rule("b").times(parse(pl.Series(dates))).count()


def test_fractions_of_rejected_lines_do_not_count():
    parsed = parse(pl.Series(["1", "-1.5", "2"]))
    times = FileTimes.of(parsed).rule().times(parsed)
    assert parsed.narrow(times, times.is_not_null()).equals(pl.Series([1, 2]), null_equal=True)
    assert parsed.narrow(times, times.is_not_null()).dtype == pl.Int64


def test_the_files_of_a_log_are_read_by_the_unit_of_most_times(tmp_path):
    for name, times in (("a", [NOW] * 5), ("b", [NOW * 1000] * 2 + [NOW])):
        (tmp_path / f"{name}.csv").write_text(
            "user_id,item_id,timestamp\n" + "".join(f"u,i,{time}\n" for time in times)
        )
    for path in (tmp_path, [str(tmp_path / "b.csv"), str(tmp_path / "a.csv")]):
        result = read_interactions(path, on_error="skip")
        assert (result.frame["timestamp"].to_list(), result.rejected) == ([NOW] * 6, 2)


def test_each_of_several_logs_has_interactions(tmp_path):
    (tmp_path / "a.csv").write_text("user_id,item_id,timestamp\nu,i,1\n")
    (tmp_path / "b.csv").write_text("user_id,item_id,timestamp\n")
    with pytest.raises(DataError, match=r"b.csv holds no interactions\.$"):
        read_interactions([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])


def test_the_cost_of_a_file_does_not_depend_on_the_number_of_files(monkeypatch):
    calls, add = [], FileTimes.__add__
    monkeypatch.setattr(FileTimes, "__add__", lambda *pair: calls.append(1) or add(*pair))
    times, counts = LogTimes(), []
    for number in range(50):
        times.add(f"part-{number}", FileTimes(dates=1))
        times.require_one_kind()
        counts.append(len(calls))
    assert counts[-1] - counts[-2] == counts[1] - counts[0] > 0
