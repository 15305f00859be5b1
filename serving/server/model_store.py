"""The models of a server, and a thread that watches their folders for new versions."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc
import numpy as np
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from ..protocol.statuses import StatusError, failed_precondition, invalid, not_found
from .batching import BatchOptions
from .model_config import ModelConfig
from .served_model import ServedModel, Version, no_servable
from .server_metrics import ServerMetrics
from .signature import check_size

_LOG = logging.getLogger(__name__)


class ModelStore:
    """Models by name. New versions replace old ones without a lost request.

    Args:
        models: One or more models. Labels can name versions that do not exist yet.
        batching: Options of the batchers (default: `BatchOptions()`). None runs each request alone.
        poll: Seconds between two searches for new versions (default: 2).
        threads: Threads of one operation, as in `LoadedModel` (default: 1).

    Attributes:
        metrics: The `ServerMetrics`.

    Raises:
        ValueError: If two models have the same name, or a model has no folder.
    """

    def __init__(
        self,
        models: Sequence[ModelConfig],
        *,
        batching: BatchOptions | None = BatchOptions(),  # noqa: B008  frozen
        poll: float = 2.0,
        threads: int = 1,
    ):
        names = [model.name for model in models]
        if len(set(names)) != len(names) or not all(
            model.name and model.folder for model in models
        ):
            raise ValueError(
                "every model must have a folder and a name of its own, "
                f"but the names are {', '.join(names)}."
            )
        self.metrics = ServerMetrics(self)
        self._batching, self._seconds, self._threads = batching, poll, threads
        self._wake, self._stopped = threading.Event(), False
        self._folders = {model.name: model.folder for model in models}
        self._models = {model.name: self._served(model) for model in models}
        self._labels = {model.name: dict(model.labels) for model in models}
        self._leaving: list[ServedModel] = []
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Loads the models, and starts to watch their folders."""
        self.poll()
        self._thread = threading.Thread(target=self._watch, name="model-store", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops watching and unloads the models. All requests must have ended."""
        self._stopped = True
        self._wake.set()
        if self._thread:
            self._thread.join()
        with self._lock:
            for model in self._models.values():
                model.close()

    def poll(self) -> None:
        """Searches for new versions now."""
        with self._lock:
            self._leaving = [model for model in self._leaving if not model.close()]
            for name, model in self._models.items():
                swaps = model.poll()
                if swaps:
                    self.metrics.swapped(name, swaps)
        for listener in self._listeners:
            listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Registers a function that is called after each search for new versions."""
        self._listeners.append(listener)

    def names(self) -> list[str]:
        """Returns the names of the models."""
        return list(self._models)

    def ready(self) -> bool:
        """Returns whether every model has a version in service."""
        return all(model.available() for model in list(self._models.values()))

    def available(self, name: str) -> list[int]:
        """Returns the versions of a model in service, ascending; [] for an unknown model."""
        model = self._models.get(name)
        return model.available() if model else []

    def queued(self, name: str) -> dict[str, int]:
        """Returns the number of rows that wait for the latest version, by signature."""
        model = self._models.get(name)
        return model.queued() if model else {}

    def predict(
        self,
        name: str,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
    ) -> tuple[int, str, dict[str, np.ndarray]]:
        """Runs a signature.

        Args:
            name: Name of the model.
            signature: Name of the signature, "" for `serving_default`.
            inputs: All inputs of the signature. Texts are bytes in arrays of objects.
            version: Version number. Without version and label, the latest version runs.
            label: Label of a version, instead of its number.
            outputs: Names of the outputs to return. Empty (default) returns all.

        Returns:
            (number of the version that ran, name of the signature, outputs by name).

        Raises:
            StatusError: As in `using` and `LoadedModel.run`. INVALID_ARGUMENT also if the outputs
                are too large.
        """
        begin = time.perf_counter()
        code, counted = grpc.StatusCode.OK, ""
        try:
            with self.using(name, version, label) as found:
                counted = found.model.signature(signature).name
                answer = found.model.run(counted, inputs, outputs, found.batchers)
                check_size(answer)
                return found.number, counted, answer
        except StatusError as error:
            code = error.code
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            raise
        finally:
            # Unknown models are counted as "", because clients can invent any number of names.
            self.metrics.requested(
                name if name in self._models else "", counted, code, time.perf_counter() - begin
            )

    @contextlib.contextmanager
    def using(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Iterator[Version]:
        """Provides a version of a model, and keeps it loaded during the block.

        Args:
            name: Name of the model.
            version: Version number. Without version and label, the latest version is provided.
            label: Label of a version, instead of its number.

        Raises:
            StatusError: NOT_FOUND for an unknown model or version, INVALID_ARGUMENT for an empty
                name or an unknown label.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        if label:
            version = self._labelled(name, label)
        model = self._models.get(name)
        if model is None:
            raise no_servable(name, version)
        found = model.acquire(version)
        try:
            yield found
        finally:
            model.release(found)

    def status(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> list[ModelVersionStatus]:
        """Returns the states of all versions of a model, greatest first, or of one version.

        Args:
            name: Name of the model.
            version: Version number. Without version and label, all versions are returned.
            label: Label of a version, instead of its number.

        Raises:
            StatusError: NOT_FOUND if there is no such version, INVALID_ARGUMENT for an unknown
                label.
        """
        if label:
            version = self._labelled(name, label)
        model = self._models.get(name)
        statuses = model.statuses() if model else []
        if version is None and not statuses:
            raise not_found(f"Could not find any versions of model {name}")
        chosen = [status for status in statuses if version in (None, status.version)]
        if not chosen:
            raise not_found(f"Could not find version {version} of model {name}")
        return chosen

    def problem(self, name: str) -> str | None:
        """Returns the error of the greatest version that cannot be loaded, or None.

        It names paths, which `status` does not: show it only on the server's terminal.
        """
        return self._models[name].problem()

    def labels(self, name: str) -> dict[str, int]:
        """Returns the version of each label of a model."""
        return dict(self._labels.get(name, {}))

    def reload(self, models: Sequence[ModelConfig]) -> None:
        """Serves only these models, with these policies and labels.

        The folder of a model cannot change, because a request must not choose folders.

        Raises:
            StatusError: INVALID_ARGUMENT if a model is unknown to the store, has another folder, or
                is named twice. FAILED_PRECONDITION if a label is new or moves, and its version is
                not in service; the policies have changed then, and the labels have not.
        """
        self._check_reload(models)
        with self._lock:
            given = {model.name: model for model in models}
            for name in [name for name in self._models if name not in given]:
                self._leaving.append(self._models.pop(name))
                self._labels.pop(name, None)
            for name, model in given.items():
                config = ModelConfig(name, self._folders[name], model.policy, model.labels)
                if name in self._models:
                    self._models[name].configure(config)
                else:
                    self._models[name] = self._served(config)
        self.poll()
        for model in models:
            self._check_labels(model.name, model.labels)
        for model in models:
            self._labels[model.name] = dict(model.labels)

    def _served(self, config: ModelConfig) -> ServedModel:
        return ServedModel(
            config, self._batching, self._threads, self.metrics.batched, self._wake.set
        )

    def _labelled(self, name: str, label: str) -> int:
        version = self._labels.get(name, {}).get(label)
        if version is None:
            raise invalid(f"Unrecognized servable version label: {label}")
        return version

    def _check_labels(self, name: str, labels: Mapping[str, int]) -> None:
        available, own = self.available(name), self._labels.get(name, {})
        for label, version in labels.items():
            if version not in available and own.get(label) != version:
                raise failed_precondition(
                    f"Request to assign label to version {version} of model {name}, "
                    "which is not currently available for inference"
                )

    def _check_reload(self, models: Sequence[ModelConfig]) -> None:
        names = [model.name for model in models]
        for model in models:
            if model.name not in self._folders:
                known = ", ".join(self._folders)
                raise invalid(
                    f"Model {model.name} is not one that this server was started with; "
                    f"name one of {known}."
                )
            known = self._folders[model.name]
            # Compares texts, because a path of a request must not reach the file system.
            if model.folder is not None and os.path.abspath(model.folder) != os.path.abspath(known):
                raise invalid(
                    f"The base_path of model {model.name} cannot be changed while the server runs; "
                    "leave it empty."
                )
            if names.count(model.name) > 1:
                raise invalid(f"Model {model.name} is configured twice; name it once.")

    def _watch(self) -> None:
        while not self._stopped:
            self._wake.wait(self._seconds)
            self._wake.clear()
            if self._stopped:
                return
            try:
                self.poll()
            except Exception:
                _LOG.exception("Looking for new versions failed; it is tried again.")
