"""Which of the versions in a folder are served."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from ..cli.arguments import shown


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """The greatest `latest` versions, or `specific` ones where there are any, or every one.

    Args:
        latest: How many of the greatest.
        specific: Versions by number.
        every: All that are there.
    """

    latest: int = 1
    specific: tuple[int, ...] = ()
    every: bool = False

    def choose(self, numbers: Collection[int]) -> list[int]:
        """Those of the numbers that are served, ascending."""
        if self.every:
            return sorted(numbers)
        if self.specific:
            return sorted(set(numbers) & set(self.specific))
        return sorted(numbers)[-self.latest :]


def parse_policy(text: str) -> VersionPolicy:
    """The policy of `latest`, `latest:2`, `all`, or `1,4`.

    Raises:
        ValueError: .
    """
    if text == "all":
        return VersionPolicy(every=True)
    kind, _, count = text.partition(":")
    try:
        if kind == "latest":
            policy = VersionPolicy(latest=int(count or "1"))
        else:
            policy = VersionPolicy(specific=tuple(int(number) for number in text.split(",")))
    except ValueError:
        policy = None
    if policy is None or policy.latest < 1 or any(number < 0 for number in policy.specific):
        raise ValueError(
            f"versions must be latest, latest:2, all or numbers such as 1,4, but are {shown(text)}."
        )
    return policy


def versions_in(folder: Path) -> dict[int, Path]:
    """The version folders of a model, number -> path.

    Raises:
        OSError: If the folder cannot be read.
    """
    numbered = (
        entry
        for entry in folder.iterdir()
        if entry.name.isascii() and entry.name.isdecimal() and entry.is_dir()
    )
    return {int(entry.name): entry for entry in numbered}
