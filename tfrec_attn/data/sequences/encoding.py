"""Encodes a log as integer sequences: frequency filter, vocabularies, order by user and time."""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.copies import count_copies
from tfrec_attn.data.sequences.filter_report import FilterReport, Statistics
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.k_core import k_core
from tfrec_attn.data.sequences.sessions import owners_of
from tfrec_attn.data.sequences.vocabulary import Vocabulary, encode_ids
from tfrec_attn.errors import DataError


@dataclass(frozen=True, eq=False)
class Sequences:
    """The events of M users, one user after the other, each user's in order of time.

    Attributes:
        items: Item index 1..N of each event, int32 [E].
        offsets: The events of user row u are `items[offsets[u]:offsets[u + 1]]`, int64 [M + 1].
            Rows count from 0. The index of the user in the vocabulary is u + 1.
        timestamps: Time of each event, int64 or float64 [E], ascending within a user.
        user_vocabulary: Ids of the users.
        item_vocabulary: Ids of the items.
        weights: Weight of each event as a training target, float32 [E], above 0. None (default):
            all weights are equal.
    """

    items: np.ndarray
    offsets: np.ndarray
    timestamps: np.ndarray
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    weights: np.ndarray | None = None

    @property
    def num_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_items(self) -> int:
        return len(self.item_vocabulary)

    @property
    def lengths(self) -> np.ndarray:
        """Events of each user, int64 [M]."""
        return np.diff(self.offsets)

    def users(self) -> np.ndarray:
        """Returns the user index 1..M of each event, int32 [E]."""
        return np.repeat(np.arange(1, self.num_users + 1, dtype=np.int32), self.lengths)

    @functools.cached_property
    def first_occurrences(self) -> np.ndarray:
        """Whether an event is the user's first event with its item, bool [E]."""
        keys = self.users().astype(np.int64) * (self.num_items + 1) + self.items
        first = np.zeros(len(keys), bool)
        first[np.unique(keys, return_index=True)[1]] = True
        return first

    def time_gaps(self) -> np.ndarray:
        """Returns the time since the user's previous event, float32 [E]; inf for the first one."""
        times, starts = self.timestamps, self.offsets[:-1]
        gaps = np.full(len(times), np.inf, np.float32)
        gaps[1:] = times[1:] - times[:-1]
        gaps[starts[starts < len(times)]] = np.inf
        return gaps

    def statistics(self) -> Statistics:
        """Returns the size of the log, without ids of the vocabularies that have no event."""
        users = int(np.count_nonzero(self.lengths))
        return Statistics(len(self.items), users, int(np.count_nonzero(np.bincount(self.items))))


def checksum(sequences: Sequences) -> str:
    """Returns the SHA-256 of an encoded log.

    The checksum depends on the filtered and ordered events, not on the file that they come from. It
    has four parts: the ids of the items, the ids of the users, the offsets, and the items of all
    events. If events have weights, these are a fifth part. Each part is hashed as its size in
    bytes, int64, and its bytes: ids as UTF-8 lines, offsets as int64, items as int32, weights as
    float32, all little-endian.
    """
    result = hashlib.sha256()
    texts = [
        "".join(f"{one}\n" for one in vocabulary.ids())
        for vocabulary in (sequences.item_vocabulary, sequences.user_vocabulary)
    ]
    arrays = [sequences.offsets.astype("<i8"), sequences.items.astype("<i4")]
    arrays += [] if sequences.weights is None else [sequences.weights.astype("<f4")]
    for part in (*(text.encode("utf-8") for text in texts), *(array.tobytes() for array in arrays)):
        result.update(len(part).to_bytes(8, "little"))
        result.update(part)
    return result.hexdigest()


def encode_log(
    frame: pl.DataFrame,
    *,
    min_user_events: int = 1,
    min_item_events: int = 1,
    known: tuple[Vocabulary, Vocabulary] | None = None,
    sessions: bool = False,
) -> tuple[Sequences, FilterReport]:
    """Filters a log until every user and item has enough events, and encodes it as sequences.

    New ids get indices after those of `known`, in the order of their first appearance in the
    filtered log. Events are ordered by user, then by time, then by their place in the log.

    Args:
        frame: Columns `user_id`, `item_id` and `timestamp`, as `read_interactions` returns them,
            `event` if types are read, and `weight` if events have weights.
        min_user_events: Fewest events of a user that stays. Default 1.
        min_item_events: Fewest events of an item that stays. Default 1.
        known: Vocabularies of users and items to extend. Their ids keep their indices, even without
            an event in the log. None (default): new vocabularies.
        sessions: Whether the users are sessions `USER#N`. Default False.

    Returns:
        The sequences, and the report of the frequency filter.

    Raises:
        DataError: If the filter leaves nothing.
    """
    user_ids, users = encode_ids(frame["user_id"])
    item_ids, items = encode_ids(frame["item_id"])
    before = Statistics(frame.height, len(user_ids), len(item_ids))
    owners = owners_of(user_ids) if sessions else user_ids
    ids = IdReport(
        IdProblems.of(owners, lambda: np.bincount(users)),
        IdProblems.of(item_ids, lambda: np.bincount(items)),
    )
    others = frame.select(name for name in ("timestamp", "weight") if name in frame.columns)
    if "event" in frame.columns:
        others = others.with_columns(event=pl.Series(encode_ids(frame["event"])[1]))
    least = min_user_events, min_item_events
    codes = users, items, np.arange(len(users))
    core = k_core(lambda: [codes], (len(user_ids), len(item_ids)), least)
    if not len(core.user_codes):
        raise DataError(nothing_left(*least, before))
    users, items = core.user_row[users], core.item_row[items]
    kept = (users >= 0) & (items >= 0)
    if not kept.all():
        users, items, others = users[kept], items[kept], others.filter(pl.Series(kept))
        user_ids, item_ids = user_ids.gather(core.user_codes), item_ids.gather(core.item_codes)
    user_vocabulary, users = _indexed(user_ids, users, known and known[0])
    item_vocabulary, items = _indexed(item_ids, items, known and known[1])
    sequences, duplicates = _in_order(users, items, others, (user_vocabulary, item_vocabulary))
    return sequences, FilterReport(
        before, sequences.statistics(), *least, duplicates=duplicates, ids=ids
    )


def nothing_left(min_user_events: int, min_item_events: int, before: Statistics) -> str:
    """Returns the error message for a frequency filter that leaves nothing."""
    least = f"data.min_user_events={min_user_events} and data.min_item_events={min_item_events}"
    return f"{least} leave nothing of {before}: lower them."


def _indexed(
    ids: pl.Series, codes: np.ndarray, known: Vocabulary | None
) -> tuple[Vocabulary, np.ndarray]:
    """Returns a vocabulary that extends `known`, and the row of each event in it, int32 [E]."""
    if known is None:
        return Vocabulary(ids), codes
    vocabulary = known.extended(ids)
    return vocabulary, vocabulary.lookup(ids.to_list())[codes] - np.int32(1)


def by_user_and_time(events: pl.DataFrame, user: str) -> pl.DataFrame:
    """Returns events sorted by a column of users and by `timestamp`; ties keep their order."""
    # Most logs are sorted by time, and a sort by one key takes a third of the time.
    keys = [user] if events["timestamp"].is_sorted() else [user, "timestamp"]
    return events.sort(keys, maintain_order=True)


def _in_order(
    users: np.ndarray,
    items: np.ndarray,
    others: pl.DataFrame,
    vocabularies: tuple[Vocabulary, Vocabulary],
) -> tuple[Sequences, int]:
    """Returns the sequences, and how many events are copies of another event."""
    events = others.with_columns(user=pl.Series(users), item=pl.Series(items))
    events = by_user_and_time(events, "user")
    lengths = np.bincount(users, minlength=len(vocabularies[0]))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    column = {name: events[name].to_numpy() for name in events.columns}
    names = ("user", "timestamp", "item", "event")
    copies = count_copies(*(column[name] for name in names if name in column))
    sequences = Sequences(
        column["item"] + np.int32(1),
        offsets,
        column["timestamp"],
        *vocabularies,
        column.get("weight"),
    )
    return sequences, copies
