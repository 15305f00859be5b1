"""Passes over a log on disk give the same results as in memory."""

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.k_core import k_core
from tfrec_attn.data.shards.coded_log import CodedLog, IdEncoder, partition, read_segments


def test_ids_are_numbered_by_first_appearance():
    ids = IdEncoder()
    assert ids.encode(pl.Series(["b", "a", "b"])).to_list() == [0, 1, 0]
    assert ids.encode(pl.Series(["c", "a", "d", "c"])).to_list() == [2, 1, 3, 2]
    assert ids.encode(pl.Series(["d"])).to_list() == [3]
    assert ids.ids.to_list() == ["b", "a", "c", "d"] and len(ids) == 4


@pytest.mark.parametrize("cuts", [(), (7,), (1, 30, 31, 150)])
@pytest.mark.parametrize("least", [(1, 1), (3, 4), (4, 7)])
def test_filter_and_order_are_the_same_as_in_memory(tmp_path, cuts, least):
    random = np.random.default_rng(len(cuts))
    users, items = random.integers(0, 25, 200), random.integers(0, 20, 200)
    frame = pl.DataFrame(
        {"user_id": users, "item_id": items, "timestamp": random.integers(0, 50, 200)}
    ).with_columns(pl.col("user_id", "item_id").cast(pl.String))
    log = CodedLog(tmp_path)
    for begin, end in zip((0, *cuts), (*cuts, 200), strict=True):
        log.append(frame[begin:end])
    kept = k_core(log.codes, (len(log.user_ids), len(log.item_ids)), least)
    sequences, _ = encode_log(frame, min_user_events=least[0], min_item_events=least[1])
    assert log.user_ids.gather(kept.user_codes).to_list() == sequences.user_vocabulary.ids()
    assert log.item_ids.gather(kept.item_codes).to_list() == sequences.item_vocabulary.ids()
    assert kept.lengths.tolist() == sequences.lengths.tolist()

    path = str(tmp_path / "events")
    times = partition(log, kept, path, 3)
    found = np.concatenate([read() for read in times])
    assert sorted(found) == sorted(sequences.timestamps)
    for shard in range(3):
        events = read_segments(path, shard).sort("row", "timestamp", maintain_order=True)
        mine = np.isin(sequences.users() - 1, np.arange(shard, sequences.num_users, 3))
        assert events["item"].to_list() == sequences.items[mine].tolist()
        assert events["timestamp"].to_list() == sequences.timestamps[mine].tolist()


def test_one_fraction_makes_all_times_float(tmp_path):
    log = CodedLog(tmp_path)
    for time in (5, 5.5):
        log.append(pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [time]}))
    assert not log.whole_times
    assert [frame["timestamp"].to_list() for frame in log.frames()] == [[5.0], [5.5]]
    assert {frame["timestamp"].dtype for frame in log.frames()} == {pl.Float64}
