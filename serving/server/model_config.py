"""The configuration of a served model: its versions and labels."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

from tfrec_attn.errors import shown


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a model are served.

    Args:
        latest: Number of versions, the greatest ones.
        specific: These versions instead, if any are given.
        every: All versions instead.
    """

    latest: int = 1
    specific: tuple[int, ...] = ()
    every: bool = False

    def choose(self, numbers: Collection[int]) -> list[int]:
        """Returns the served versions among these, ascending."""
        if self.every:
            return sorted(numbers)
        if self.specific:
            return sorted(set(numbers) & set(self.specific))
        return sorted(numbers)[-self.latest :]


def parse_policy(text: str) -> VersionPolicy:
    """Parses `latest`, `latest:2`, `all`, or numbers such as `1,4`.

    Raises:
        ValueError: If the text is none of these.
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


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model that is served.

    Args:
        name: Name in requests.
        folder: Folder of the versions. None, in a reload, keeps the folder.
        policy: Which versions are served.
        labels: Label -> version.
    """

    name: str
    folder: str | Path | None = None
    policy: VersionPolicy = dataclasses.field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
