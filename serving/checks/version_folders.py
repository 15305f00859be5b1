"""The versions of a model on disk: which there are, and whether they are what was exported."""

from pathlib import Path

from tfrec_attn.errors import ConfigError
from tfrec_attn.files.checksums import SERVABLE_SUMS, first_damage
from tfrec_attn.runtime.saved_model import LOADED, versions_in


def read_versions(base: str | Path, option: str) -> dict[int, Path]:
    """Returns the folders of the versions of a model by number, ascending.

    Args:
        base: Folder of the versions.
        option: What names it, for messages.

    Raises:
        ConfigError: If there is no such folder.
    """
    try:
        return dict(sorted(versions_in(Path(base)).items()))
    except OSError as error:
        raise ConfigError(
            f"{option} {base} cannot be read ({error.strerror}); "
            "give --folder, the folder of the versions on this machine."
        ) from None


def damage_of(folder: Path) -> str | None:
    """Returns what is wrong with the folder of a version, or None."""
    if not (folder / "saved_model.pb").is_file():
        return f"{folder} has no saved_model.pb"
    return first_damage(folder, LOADED, SERVABLE_SUMS)
