"""Passes over a log on disk give the same results as in memory."""

import numpy as np
import polars as pl
import pytest

from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.sequences.k_core import k_core
from tfrec_attn.data.shards.coded_log import CodedLog, IdEncoder, partition, read_partition


def test_ids_are_numbered_by_first_appearance():
    ids = IdEncoder()
    assert ids.encode(pl.Series(["b", "a", "b"])).tolist() == [0, 1, 0]
    assert ids.encode(pl.Series(["c", "a", "d", "c"])).tolist() == [2, 1, 3, 2]
    assert ids.encode(pl.Series(["d"])).tolist() == [3]
    assert ids.ids.to_list() == ["b", "a", "c", "d"] and len(ids) == 4


@pytest.mark.parametrize("cuts", [(), (7,), (1, 30, 31, 150)])
@pytest.mark.parametrize("least", [(1, 1), (3, 4), (4, 7)])
def test_filter_and_order_are_the_same_as_in_memory(tmp_path, cuts, least):
    random = np.random.default_rng(len(cuts))
    users, items = random.integers(0, 25, 200), random.integers(0, 20, 200)
    frame = pl.DataFrame(
        {"user_id": users, "item_id": items, "timestamp": random.integers(0, 50, 200)}
    ).with_columns(pl.col("user_id", "item_id").cast(pl.String))
    log, ids = CodedLog(tmp_path), (IdEncoder(), IdEncoder())
    for begin, end in zip((0, *cuts), (*cuts, 200), strict=True):
        part = frame[begin:end]
        log.append(
            ids[0].encode(part["user_id"]),
            ids[1].encode(part["item_id"]),
            part["timestamp"].to_numpy(),
        )
    log.users, log.items = map(len, ids)
    kept = k_core(log.codes, (log.users, log.items), least)
    sequences, _ = encode_log(frame, min_user_events=least[0], min_item_events=least[1])
    assert ids[0].ids.gather(kept.user_codes).to_list() == sequences.user_vocabulary.ids()
    assert ids[1].ids.gather(kept.item_codes).to_list() == sequences.item_vocabulary.ids()
    assert kept.lengths.tolist() == sequences.lengths.tolist()

    times = partition(log, kept, tmp_path, 3)
    assert times.span() == (sequences.timestamps.min(), sequences.timestamps.max())
    for shard in range(3):
        rows, places, moments, _ = read_partition(tmp_path, shard, whole_times=True)
        order = np.lexsort((moments, rows))
        mine = np.isin(sequences.users() - 1, np.arange(shard, sequences.num_users, 3))
        assert places[order].tolist() == sequences.items[mine].tolist()
        assert moments[order].tolist() == sequences.timestamps[mine].tolist()


def test_one_fraction_makes_all_times_float(tmp_path):
    log = CodedLog(tmp_path)
    log.append(np.array([0], np.int32), np.array([0], np.int32), np.array([5]))
    log.append(np.array([0], np.int32), np.array([0], np.int32), np.array([5.5]))
    assert not log.whole_times and log.times(0).dtype == np.float64
