"""The order of MovieLens-100K in the split of AttRec's authors."""

import polars as pl


def attrec_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Returns a log in which, of the latest events of a user, the first line is the last event.

    The events of a user are in the order of time, and lines of the same time in that of the file.
    The authors' split tests a user on the first line of the latest time, not on the last one. The
    other events keep their order.

    Args:
        frame: Columns `user_id` and `timestamp`, as `read_interactions` returns them.

    Returns:
        The same rows in another order.
    """
    time, line = pl.col("timestamp"), pl.int_range(pl.len())
    last = (time == time.max().over("user_id")) & (line.over("user_id", "timestamp") == 0)
    return frame.sort(last, maintain_order=True)
