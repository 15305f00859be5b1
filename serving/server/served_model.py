"""A model with its versions: finds them in a folder, loads, replaces and unloads them."""

import dataclasses
import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from tfrec_attn.runtime.saved_model import versions_in

from ..protocol.statuses import StatusError, not_found, without_folder
from .batching import Batcher, BatchOptions
from .loaded_model import LoadedModel
from .model_config import ModelConfig

_LOG = logging.getLogger(__name__)
_ENDED_KEPT = 10


@dataclasses.dataclass(eq=False)
class Version:
    """A loaded version.

    Attributes:
        number: Version number.
        model: The model, loaded and warmed up.
        batchers: Batcher of each signature; empty without batching.
        users: Number of its requests in flight.
        retired: Whether it gets no new requests.
    """

    number: int
    model: LoadedModel
    batchers: dict[str, Batcher]
    users: int = 0
    retired: bool = False


class _Failure(NamedTuple):
    """A failure to load a version: the `_stamp` of its files, and the error with paths."""

    stamp: tuple
    message: str


class ServedModel:
    """The versions of one model.

    Only one thread at a time can call `poll`, `configure` and `close`. Any thread can call the
    other methods.

    Args:
        config: Name, folder and policy of the model.
        batching: Options of the batchers. None runs each request alone.
        threads: As in `LoadedModel`.
        observe: Function that gets the model name, the signature and the number of rows of each
            batch.
        drained: Function that is called when the last request of a retired version has ended.

    Attributes:
        config: The current configuration.
    """

    def __init__(
        self,
        config: ModelConfig,
        batching: BatchOptions | None,
        threads: int,
        observe: Callable,
        drained: Callable[[], None],
    ):
        self.config = dataclasses.replace(config, folder=Path(config.folder).absolute())
        self._batching, self._threads = batching, threads
        self._observe, self._drained = observe, drained
        self._lock = threading.Lock()
        self._serving: dict[int, Version] = {}
        self._latest: Version | None = None
        self._retired: list[Version] = []
        self._failed: dict[int, _Failure] = {}
        self._statuses: dict[int, ModelVersionStatus] = {}

    def acquire(self, number: int | None = None) -> Version:
        """Returns a version, and keeps it loaded until `release`.

        Args:
            number: Version number. None (default) returns the latest version.

        Raises:
            StatusError: NOT_FOUND if the version is not in service.
        """
        with self._lock:
            version = self._latest if number is None else self._serving.get(number)
            if version is not None:
                version.users += 1
                return version
        raise no_servable(self.config.name, number)

    def release(self, version: Version) -> None:
        """Ends the use of a version that `acquire` returned."""
        with self._lock:
            version.users -= 1
            last = version.retired and not version.users
        if last:
            self._drained()

    def available(self) -> list[int]:
        """Returns the versions in service, ascending."""
        with self._lock:
            return sorted(self._serving)

    def queued(self) -> dict[str, int]:
        """Returns the number of rows that wait for the latest version, by signature."""
        with self._lock:
            latest = self._latest
        return {name: batcher.queued for name, batcher in latest.batchers.items()} if latest else {}

    def statuses(self) -> list[ModelVersionStatus]:
        """Returns the states of all known versions, greatest version first."""
        with self._lock:
            return [self._statuses[number] for number in sorted(self._statuses, reverse=True)]

    def problem(self) -> str | None:
        """Returns the error, with paths, of the greatest version that cannot be loaded, or None."""
        return self._failed[max(self._failed)].message if self._failed else None

    def poll(self) -> int:
        """Loads new versions and unloads old ones.

        Returns:
            Number of versions that were put into service.
        """
        self._close_drained()
        try:
            found = versions_in(self.config.folder)
            found = {number: path for number, path in found.items() if path.is_dir()}
        except OSError as error:
            _LOG.warning(
                "The folder of model %s cannot be read (%s); what is loaded stays.",
                self.config.name,
                error,
            )
            return 0
        wanted = self.config.policy.choose(found)
        loaded = sum(
            self._load(number, found[number]) for number in wanted if number not in self._serving
        )
        for number in [number for number in self._serving if number not in wanted]:
            # Old versions stay in service until a new one is in service or none is wanted.
            if not wanted or any(other in self._serving for other in wanted):
                self._retire(number)
        self._close_drained()
        return loaded

    def configure(self, config: ModelConfig) -> None:
        """Sets the policy and the labels. The next `poll` applies the policy."""
        self.config = dataclasses.replace(self.config, policy=config.policy, labels=config.labels)

    def close(self) -> bool:
        """Retires all versions, and unloads those without requests in flight.

        Returns:
            Whether all versions are unloaded.
        """
        for number in list(self._serving):
            self._retire(number)
        self._close_drained()
        return not self._retired

    def _load(self, number: int, folder: Path) -> bool:
        stamp = _stamp(folder)
        if number in self._failed and self._failed[number].stamp == stamp:
            return False
        self._set(number, ModelVersionStatus.LOADING)
        try:
            model = LoadedModel(folder, self._threads)
            try:
                model.warm_up()
            except BaseException:
                model.close()
                raise
        except StatusError as error:
            self._failed[number] = _Failure(stamp, error.message)
            _LOG.error(
                "Version %d of model %s is not served: %s", number, self.config.name, error.message
            )
            name = f"version {number} of model {self.config.name}"
            reason = without_folder(error.message, folder, name)
            self._set(number, ModelVersionStatus.END, error.code, reason)
            return False
        self._failed.pop(number, None)
        version = Version(number, model, self._batchers(model))
        with self._lock:
            self._serving[number] = version
            self._latest = self._serving[max(self._serving)]
            self._statuses[number] = status_of(number, ModelVersionStatus.AVAILABLE)
        return True

    def _batchers(self, model: LoadedModel) -> dict[str, Batcher]:
        observe = functools.partial(self._observe, self.config.name)
        return {
            name: Batcher(signature.run, self._batching, functools.partial(observe, name))
            for name, signature in (model.signatures.items() if self._batching else ())
        }

    def _retire(self, number: int) -> None:
        with self._lock:
            version = self._serving.pop(number)
            version.retired = True
            self._latest = self._serving[max(self._serving)] if self._serving else None
            self._statuses[number] = status_of(number, ModelVersionStatus.UNLOADING)
        self._retired.append(version)

    def _close_drained(self) -> None:
        for version in [version for version in self._retired if not version.users]:
            self._retired.remove(version)
            version.model.close()
            if version.number not in self._serving:
                self._set(version.number, ModelVersionStatus.END)

    def _set(self, number: int, state: int, *problem: object) -> None:
        with self._lock:
            self._statuses[number] = status_of(number, state, *problem)
            ended = sorted(
                number
                for number, status in self._statuses.items()
                if status.state == ModelVersionStatus.END
            )
            for old in ended[:-_ENDED_KEPT]:
                del self._statuses[old]


def status_of(
    number: int, state: int, code: grpc.StatusCode = grpc.StatusCode.OK, message: str = ""
) -> ModelVersionStatus:
    """Makes the state of a version, with a code and a message if it cannot be loaded."""
    result = ModelVersionStatus(version=number, state=state)
    result.status.error_code, result.status.error_message = code.value[0], message
    return result


def no_servable(name: str, version: int | None) -> StatusError:
    """Makes the NOT_FOUND error of a model, or of one of its versions."""
    return not_found(
        "Servable not found for request: "
        f"{f'Latest({name})' if version is None else f'Specific({name}, {version})'}"
    )


def _stamp(folder: Path) -> tuple:
    """Paths, sizes and times of the files, which change when a user repairs a version."""
    files = sorted(folder.rglob("*"))
    try:
        return tuple(
            (str(path), status.st_size, status.st_mtime_ns)
            for path in files
            for status in [path.stat()]
        )
    except OSError:
        return ()
