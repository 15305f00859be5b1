"""The configuration of a served model: its versions and labels."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

from tfrec_attn.errors import shown


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Chooses the served versions of a model.

    Attributes:
        latest: Number of greatest versions to serve (default: 1).
        specific: Versions to serve instead, if there are any.
        every: Whether to serve all versions instead (default: False).
    """

    latest: int = 1
    specific: tuple[int, ...] = ()
    every: bool = False

    def choose(self, numbers: Collection[int]) -> list[int]:
        """Returns the versions among `numbers` that are served, ascending."""
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
    """Configuration of a served model.

    Attributes:
        name: Name of the model in requests.
        folder: Folder of the versions. In a reload, None keeps the folder.
        policy: Policy that chooses the served versions (default: the latest one).
        labels: Version of each label.
    """

    name: str
    folder: str | Path | None = None
    policy: VersionPolicy = dataclasses.field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
