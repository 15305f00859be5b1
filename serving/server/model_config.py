"""What a store is told about a model, and what it tells about its versions."""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path

import grpc

from .version_policy import VersionPolicy


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model that is served.

    Args:
        name: By which requests name it.
        folder: Of its versions; None, in a reload, for the one that it has.
        policy: Which versions.
        labels: Name -> version.
    """

    name: str
    folder: str | Path | None = None
    policy: VersionPolicy = dataclasses.field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


class State(enum.IntEnum):
    """Where a version stands; numbers as in ModelVersionStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """One version: its state, and where it could not be loaded the code and the reason."""

    version: int
    state: State
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
