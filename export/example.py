"""What requests are made of that travel with a servable: popular items and nobody's name, never a
user of the log or a history.
"""

from .session import Session


def popular_items(session: Session, count: int) -> tuple[list[str], str]:
    """The most popular items of a servable, and the separator that joins ids.

    Args:
      session: of the servable.
      count: of items; fewer where it gives fewer.

    Returns:
      (ids, separator).
    """
    nothing = {name: [""] for name in ("user_id", "history", "exclude", "allow")}
    answer = session.run("recommend_joined", **nothing, k=[count])
    return [one.decode() for one in answer["items"][0] if one], answer["separator"][0].decode()
