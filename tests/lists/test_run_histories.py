"""The users of a log in memory and in shards."""

from types import SimpleNamespace

import polars as pl
import pytest

from tfrec_attn.config import Data
from tfrec_attn.data.sequences.encoding import encode_log
from tfrec_attn.data.shards.prepare_locally import prepare_log
from tfrec_attn.data.shards.prepared_log import PreparedLog
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.lists.run_histories import ShardHistories
from tfrec_attn.lists.user_histories import SequenceHistories


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Seven users with 5 to 11 events each, in memory and in three shards."""
    folder = tmp_path_factory.mktemp("log")
    rows = [(f"u{u}", f"i{t * (u + 2) % 13}", t) for t in range(11) for u in range(7) if t < u + 5]
    frame = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    frame.write_csv(folder / "log.csv")
    prepare_log([str(folder / "log.csv")], folder / "prepared", Data(), shards=3)
    return SimpleNamespace(
        sequences=encode_log(frame)[0],
        split=ShardedSplit.open(PreparedLog(folder / "prepared")),
        expected={f"u{u}": [f"i{t * (u + 2) % 13}" for t in range(u + 5)] for u in range(7)},
    )


def pairs(histories, begin=0, size=2):
    found = []
    for batch in histories.batches(begin, size):
        assert 0 < len(batch.users) <= size
        for row, user in enumerate(batch.users):
            found.append((user, batch.slice(row, row + 1).items.to_list()))
    return found


@pytest.mark.parametrize("users", [None, ["u5", "nobody", "u1", "u3", "nowhere"]])
def test_shards_have_the_histories_of_the_log(log, users):
    wanted = {user: log.expected.get(user, []) for user in users or log.expected}
    for histories in (SequenceHistories(log.sequences, users), ShardHistories(log.split, users)):
        found = pairs(histories)
        assert dict(found) == wanted and len(found) == len(wanted) == histories.total
        for begin in range(len(found) + 1):
            assert pairs(histories, begin, 3) == found[begin:]


def test_the_order_is_that_of_the_users(log):
    users = ["u5", "nobody", "u1"]
    assert [user for user, _ in pairs(SequenceHistories(log.sequences, users))] == users
