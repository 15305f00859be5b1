"""From a log to integer sequences: frequency filter, vocabularies, order by user and time."""

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from tfrec_attn.data.sequences.copies import count_copies
from tfrec_attn.data.sequences.filter_report import FilterReport, Statistics
from tfrec_attn.data.sequences.ids import IdProblems, IdReport
from tfrec_attn.data.sequences.vocabulary import Vocabulary, encode_ids
from tfrec_attn.errors import DataError


@dataclass(frozen=True, eq=False)
class Sequences:
    """The events of M users, one user after the other, each user's in order of time.

    Attributes:
        items: Item index 1..N of each event, int32 [E].
        offsets: User row u (from 0; index u + 1 in the vocabulary) owns `items[offsets[u]:offsets[u
            + 1]]`, int64 [M + 1].
        timestamps: Time of each event, int64 or float64 [E], ascending within a user.
        user_vocabulary: Ids of the users.
        item_vocabulary: Ids of the items.
        weights: What each event counts as a target of the training, float32 [E], above 0; None: all
            the same.
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
        """User index 1..M of each event, int32 [E]."""
        return np.repeat(np.arange(1, self.num_users + 1, dtype=np.int32), self.lengths)

    def statistics(self) -> Statistics:
        """Size of the log; ids of the vocabularies without an event do not count."""
        return Statistics(
            len(self.items),
            int(np.count_nonzero(self.lengths)),
            int(np.count_nonzero(np.bincount(self.items))),
        )


def k_core(
    users: np.ndarray, items: np.ndarray, min_user_events: int, min_item_events: int
) -> np.ndarray:
    """Returns the largest set of events in which every user and every item has enough of them, as a
    bool mask [E].

    Args:
        users: User code of each event, non-negative integers [E].
        items: Item code of each event, non-negative integers [E].
        min_user_events: Fewest events of a user that stays.
        min_item_events: Fewest events of an item that stays.
    """
    kept = np.arange(len(users))
    while True:
        enough = np.bincount(users[kept])[users[kept]] >= min_user_events
        enough &= np.bincount(items[kept])[items[kept]] >= min_item_events
        if enough.all():
            break
        kept = kept[enough]
    mask = np.zeros(len(users), bool)
    mask[kept] = True
    return mask


def encode_log(
    frame: pl.DataFrame,
    *,
    min_user_events: int = 1,
    min_item_events: int = 1,
    known: tuple[Vocabulary, Vocabulary] | None = None,
    sessions: bool = False,
) -> tuple[Sequences, FilterReport]:
    """Filters a log until every user and item has enough events, and puts it in order.

    Indices follow the first appearance in the filtered log, after those of `known`. Events are
    ordered by user, then time, then their place in the log.

    Args:
        frame: Columns `user_id`, `item_id` and `timestamp`, as `read_interactions` returns them,
            `event` where it tells copies apart, and `weight` where events have weights.
        min_user_events: Fewest events of a user that stays.
        min_item_events: Fewest events of an item that stays.
        known: Vocabularies of users and items to go on from: their ids keep their indices, also
            those without an event in the log.
        sessions: Whether the users are sessions `USER#N`.

    Raises:
        DataError: If the filter leaves nothing.
    """
    user_ids, users = encode_ids(frame["user_id"])
    item_ids, items = encode_ids(frame["item_id"])
    before = Statistics(frame.height, len(user_ids), len(item_ids))
    owners = user_ids.str.replace(r"#\d+$", "") if sessions else user_ids
    ids = IdReport(
        *(
            IdProblems.of(*found)
            for found in (
                (owners, lambda: np.bincount(users)),
                (item_ids, lambda: np.bincount(items)),
            )
        )
    )
    others = frame.select(name for name in ("timestamp", "weight") if name in frame.columns)
    if "event" in frame.columns:
        others = others.with_columns(event=pl.Series(encode_ids(frame["event"])[1]))
    kept = k_core(users, items, min_user_events, min_item_events)
    if not kept.any():
        raise DataError(
            f"data.min_user_events={min_user_events} and data.min_item_events={min_item_events} leave nothing of {before}: lower them."
        )
    if not kept.all():
        users, items, others = users[kept], items[kept], others.filter(pl.Series(kept))
        user_ids, users = _compact(user_ids, users)
        item_ids, items = _compact(item_ids, items)
    user_vocabulary, users = _indexed(user_ids, users, known and known[0])
    item_vocabulary, items = _indexed(item_ids, items, known and known[1])
    sequences, duplicates = _in_order(users, items, others, (user_vocabulary, item_vocabulary))
    return sequences, FilterReport(
        before,
        sequences.statistics(),
        min_user_events,
        min_item_events,
        duplicates=duplicates,
        ids=ids,
    )


def _indexed(
    ids: pl.Series, codes: np.ndarray, known: Vocabulary | None
) -> tuple[Vocabulary, np.ndarray]:
    """Returns a vocabulary that goes on from the known one, and the place in it of each event's id,
    from 0, int32 [E].
    """
    if known is None:
        return Vocabulary(ids), codes
    vocabulary = known.extended(ids)
    return vocabulary, vocabulary.lookup(ids.to_list())[codes] - np.int32(1)


def _in_order(
    users: np.ndarray,
    items: np.ndarray,
    others: pl.DataFrame,
    vocabularies: tuple[Vocabulary, Vocabulary],
) -> tuple[Sequences, int]:
    """Returns the sequences, and how many events are copies of another."""
    events = others.with_columns(user=pl.Series(users), item=pl.Series(items)).sort(
        "user", "timestamp", maintain_order=True
    )
    offsets = np.concatenate(
        [[0], np.cumsum(np.bincount(users, minlength=len(vocabularies[0])))]
    ).astype(np.int64)
    weights = events["weight"].to_numpy() if "weight" in events.columns else None
    copies = count_copies(
        *(
            events[name].to_numpy()
            for name in ("user", "timestamp", "item", "event")
            if name in events.columns
        )
    )
    return Sequences(
        events["item"].to_numpy() + np.int32(1),
        offsets,
        events["timestamp"].to_numpy(),
        *vocabularies,
        weights,
    ), copies


def _compact(ids: pl.Series, codes: np.ndarray) -> tuple[pl.Series, np.ndarray]:
    """Renumbers what is left after filtering, again by first appearance."""
    first = np.full(len(ids), len(codes), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(codes))]
    places = np.zeros(len(ids), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return ids.gather(order), places[codes]


def checksum(sequences: Sequences) -> str:
    """SHA-256 of a prepared log: the ids of items and of users in order, each user's offset, and
    the items of all events.

    It depends on what was read, filtered and put in order, not on the file that it was read from.
    Each of the four parts is hashed as its size in bytes, int64, and its bytes: ids as UTF-8 lines,
    offsets as int64, items as int32, all little-endian. Weights of events, where there are any, are
    a fifth part, float32.
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
