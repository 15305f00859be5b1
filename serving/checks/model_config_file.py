"""The configuration file of a server: reads and changes the versions and labels of one model."""

import contextlib
import fcntl
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfrec_attn.errors import ConfigError, first_line
from tfrec_attn.files.writing import replace_text

_LABEL = re.compile(r'\b(key\s*:\s*["\']([^"\'\n]*)["\']\s*,?\s*value\s*:\s*)(\d+)')
_SPECIFIC = re.compile(r"(\bspecific\s*:?\s*\{)([^{}]*)(\})")


class ModelConfigFile:
    """A file with a ModelServerConfig as text, and one of its models.

    Args:
        path: Path of the file.
        model: Name of the model.

    Attributes:
        path: Path of the file.
        config: Content of the file, a `ModelServerConfig`.

    Raises:
        ConfigError: If the file cannot be read, or does not have the model exactly once.
    """

    def __init__(self, path: str | Path, model: str):
        self.path, self._model = Path(path), model
        self.config, self._text = _read(self.path)
        known = [one.name for one in self.config.model_config_list.config]
        if known.count(model) != 1:
            raise ConfigError(
                f"{path} must have the model {model} once, but has {', '.join(known) or 'none'}; "
                "give the file that the server was started with."
            )

    @property
    def labels(self) -> dict[str, int]:
        """The version of each label of the model."""
        return dict(self._entry(self.config).version_labels)

    @property
    def specific(self) -> list[int]:
        """The served versions that the file lists, ascending; [] if it has another policy."""
        return sorted(self._entry(self.config).model_version_policy.specific.versions)

    @property
    def base_path(self) -> str:
        """The folder of the versions, as a path on the server."""
        return self._entry(self.config).base_path

    def changed(self, labels: Mapping[str, int], versions: Collection[int] | None = None):
        """Returns a copy of the configuration with changed labels and versions.

        Args:
            labels: Version of each label that changes.
            versions: The served versions. None (default) does not change them.
        """
        config = model_server_config_pb2.ModelServerConfig()
        config.CopyFrom(self.config)
        entry = self._entry(config)
        for label, version in labels.items():
            entry.version_labels[label] = version
        if versions is not None:
            entry.model_version_policy.specific.versions[:] = sorted(versions)
        return config

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Locks the file against other commands during the block.

        Raises:
            ConfigError: If the file has changed since it was read, another command has the lock, or
                the file cannot be written.
        """
        if not (os.access(self.path, os.W_OK) and os.access(self.path.resolve().parent, os.W_OK)):
            raise ConfigError(
                f"{self.path} cannot be written, "
                "so that a server would forget a moved label when it starts again."
            )
        # Locks the folder: the file is replaced, and a lock of the old file does not hold for it.
        folder = os.open(self.path.resolve().parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_unchanged()
            yield
        except BlockingIOError:
            raise ConfigError(
                f"{self.path} is being changed by another command; "
                "run this one again when that has ended."
            ) from None
        finally:
            os.close(folder)

    def write(self, config) -> None:
        """Writes a configuration to the file.

        Only the numbers of the labels and versions of the model change in the text. If that is not
        possible, the whole text is written anew, and only the comments at its top remain.

        Raises:
            ConfigError: If the file has changed since it was read, or cannot be written.
        """
        text = self._edited(config)
        if text is None:
            anew = text_format.MessageToString(config, as_utf8=True)
            text = _comments(self._text) + anew
        self._check_unchanged()
        self._replace(config, text)

    @property
    def state(self) -> tuple:
        """(content, text) of the file, for `restore`."""
        return self.config, self._text

    def restore(self, state: tuple):
        """Writes an earlier `state`, unless another program has changed the file.

        Returns:
            The configuration in the file after that.
        """
        config, text = _read(self.path)
        if text != self._text:
            return config
        if state != self.state:
            self._replace(*state)
        return self.config

    def _replace(self, config, text) -> None:
        try:
            # Atomic, so that a server that polls the file never reads a part of it.
            replace_text(self.path, text)
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error.strerror}.") from None
        self.config, self._text = config, text

    def _entry(self, config):
        return next(one for one in config.model_config_list.config if one.name == self._model)

    def _check_unchanged(self) -> None:
        if _read(self.path)[1] != self._text:
            raise ConfigError(
                f"{self.path} has changed since it was read; look at it, and run the command again."
            )

    def _edited(self, config) -> str | None:
        """The text with only the changed numbers replaced, or None if that is not possible."""
        text, step, new = self._text, self.changed({}), self._entry(config)
        entry = self._entry(step)
        for label, version in new.version_labels.items():
            if text is not None and entry.version_labels.get(label) != version:
                entry.version_labels[label] = version
                text = _replaced(text, _labelled(text, label, version), step)
        if text is not None and entry.model_version_policy != new.model_version_policy:
            entry.model_version_policy.CopyFrom(new.model_version_policy)
            versions = new.model_version_policy.specific.versions
            text = _replaced(text, _with_versions(text, versions), step)
        return text if step == config else None


def _read(path):
    """(content, text) of a file."""
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text = path.read_text(encoding="utf-8")
        text_format.Parse(text, config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ConfigError(
            f"{path} cannot be read as a ModelServerConfig "
            f"({first_line(error)}); give the server's."
        ) from None
    return config, text


def _comments(text):
    """The comment lines at the top of a text."""
    lines = text.splitlines(keepends=True)
    count = next(
        (place for place, line in enumerate(lines) if line.strip() and not line.startswith("#")),
        len(lines),
    )
    return "".join(lines[:count])


def _labelled(text, label, version):
    """Yields the text with another version, once for each label of this name in it."""
    for found in _LABEL.finditer(text):
        if found[2] == label:
            yield f"{text[: found.start(3)]}{version}{text[found.end(3) :]}"


def _with_versions(text, versions):
    """Yields the text with other versions, once for each `specific` policy in it."""
    for found in _SPECIFIC.finditer(text):
        lead = re.match(r"\s*", found[2])[0] or " "
        tail = re.search(r"\s*$", found[2])[0] or " "
        inner = lead + lead.join(f"versions: {version}" for version in versions) + tail
        yield f"{text[: found.start(2)]}{inner}{text[found.end(2) :]}"


def _replaced(text, candidates, config):
    """The first of several texts whose content is this configuration, or None."""
    for candidate in candidates:
        with contextlib.suppress(text_format.ParseError):
            if text_format.Parse(candidate, type(config)()) == config:
                return candidate
    return None
