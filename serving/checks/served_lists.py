"""The lists of a served model for held-out events, with many events in a request or one."""

from concurrent.futures import ThreadPoolExecutor

import polars as pl

from tfrec_attn.replay.event_blocks import padded
from tfrec_attn.replay.event_ranking import Predict, recommend

from ..clients.base_client import BaseClient

# Most ids of an input, of which a server may limit the number.
_ELEMENTS = 1 << 15
_AT_ONCE = 8


def rows_of(events: pl.DataFrame, rows: int) -> int:
    """Returns how many events, at most `rows`, fit into a request whatever their histories."""
    return max(1, min(rows, _ELEMENTS // (events["history"].list.len().max() + 1)))


def ask_in_batches(predict: Predict, events: pl.DataFrame, k: int, rows: int) -> list[list[str]]:
    """Returns the k best items of each event, with up to `rows` events in a request."""
    lists = []
    for some in events.iter_slices(rows_of(events, rows)):
        histories = some["history"].to_list()
        history = padded(histories, max(map(len, histories)) + 1)
        lists += recommend(predict, {"user_id": some["user_id"].to_numpy(), "history": history}, k)[
            0
        ]
    return lists


def ask_one_by_one(client: BaseClient, events: pl.DataFrame, k: int) -> list[list[str]]:
    """Returns the k best items of each event, with one event in a request and eight threads."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda row: client.recommend(row[1], row[0], k=k), events.rows())
        return [answer.items for answer in answers]


def keep_seen(lists: list[list[str]], events: pl.DataFrame) -> bool:
    """Returns whether a list has an item of its history."""
    histories = events["history"].to_list()
    return any(
        not set(items).isdisjoint(history) for items, history in zip(lists, histories, strict=True)
    )
