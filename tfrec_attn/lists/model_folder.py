"""Opens the model in a folder, which is a run or a servable."""

import hashlib
from pathlib import Path

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SERVABLE_SUMS, SUMS, file_sha256
from tfrec_attn.lists.model_source import ModelSource
from tfrec_attn.lists.servable_source import ServableSource
from tfrec_attn.lists.source import Source
from tfrec_attn.runtime.runner import Runner


def open_source(path: str | Path) -> Source:
    """Returns the model of a run or of a servable.

    Raises:
        ConfigError: If the folder is neither, or is damaged.
    """
    path = Path(path)
    return ModelSource.of_run(path) if is_run(path) else ServableSource(Runner(path))


def is_run(path: Path) -> bool:
    """Returns True for the folder of a run, False for that of a servable.

    Raises:
        ConfigError: If the folder does not exist, or is neither.
    """
    if any((path / name).is_file() for name in ("metrics.json", SUMS)):
        return True
    numbered = path.is_dir() and any(one.name.isdecimal() for one in path.iterdir())
    if numbered or (path / "saved_model.pb").is_file():
        return False
    raise ConfigError(
        f"{path} is neither a finished run nor a servable; give a folder that tfrec_attn.train or "
        "tfrec_attn.export has written."
    )


def fingerprint(folder: Path) -> str:
    """Returns a SHA-256 that identifies the files of a run or of a version of a servable."""
    for name in (SUMS, SERVABLE_SUMS):
        if (folder / name).is_file():
            return file_sha256(folder / name)
    # The folder has no checksums, because another program wrote it.
    result = hashlib.sha256()
    for path in sorted(folder.glob("**/*")):
        if path.is_file() and path.parent.name != "tensorboard":
            result.update(f"{path.relative_to(folder)} {file_sha256(path)}\n".encode())
    return result.hexdigest()
