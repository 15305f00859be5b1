"""The folder of a search, its files, and the study that it belongs to."""

import json
from pathlib import Path
from typing import Any

from tfrec_attn import config as configuration
from tfrec_attn.config import Config
from tfrec_attn.errors import ConfigError, shown
from tfrec_attn.files.work_folder import check_removable, open_work, unfinished_patterns
from tfrec_attn.files.writing import replace_text
from tfrec_attn.runs.partial_run import KNOWN as OF_A_RUN
from tfrec_attn.studies.search.search_space import SearchSpace

STUDY, JOURNAL, TRIALS, BEST = "study.json", "journal.log", "trials.csv", "best.yaml"
_TRIAL = "trial"
_KNOWN = (
    JOURNAL,
    f"{JOURNAL}.lock*",
    *(pattern for name in (STUDY, TRIALS, BEST) for pattern in (name, f".{name}.*")),
    *(f"{_TRIAL}/{pattern}" for pattern in OF_A_RUN),
)
_OTHER_NAME = "name another folder with --to"
_REMEDY = f"--restart to remove its study, or {_OTHER_NAME}"


def describe_study(
    config: Config, space: SearchSpace, seed: int, prune_after: int | None, log: str
) -> dict[str, Any]:
    """Returns what identifies a study, key -> value, as `study.json` holds it.

    Args:
        config: The resolved configuration.
        space: The search space.
        seed: Seed of the sampler.
        prune_after: Epochs before a trial can be pruned. None: no pruning.
        log: Checksum of the events.
    """
    keys = configuration.flatten({**configuration.to_dict(config), "run_dir": None})
    ranges = {f"search.{key}": one.to_dict() for key, one in space.ranges.items()}
    return {**keys, **ranges, "--seed": seed, "--prune-after": prune_after, "log": log}


class StudyFolder:
    """The folder of a study, which one process at a time locks.

    Args:
        path: The folder. It is created if it does not exist.
        study: The result of `describe_study`.
        restart: Whether to remove the study that the folder holds. Default False.

    Attributes:
        path: The folder.
        trial: Folder of the current trial.

    Raises:
        ConfigError: If the folder holds another study or foreign files, is in use, or cannot be
            written.
    """

    def __init__(self, path: Path, study: dict[str, Any], restart: bool = False):
        self.path, self.trial = path, path / _TRIAL
        self._work = open_work(path, "search", _KNOWN, _OTHER_NAME)
        self._removable = self._work.is_new
        try:
            self._prepare(study, restart)
        except BaseException as error:
            self.leave()
            if isinstance(error, OSError):
                raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
            raise

    def _prepare(self, study: dict[str, Any], restart: bool) -> None:
        if restart:
            check_removable(self.path, unfinished_patterns(_KNOWN), _OTHER_NAME)
            self._removable = True
            self._work.clear()
        path = self.path / STUDY
        if path.exists():
            self._check_same(study)
        elif self.has_trials():
            raise ConfigError(
                f"{self.path} has trials, but no {STUDY} that tells of which search; "
                f"give {_REMEDY}."
            )
        else:
            self._work.clear()
            replace_text(path, json.dumps(study, indent=2, ensure_ascii=False) + "\n")
        # A killed process can leave this lock. This process holds the lock of the folder.
        (self.path / f"{JOURNAL}.lock").unlink(missing_ok=True)

    def _check_same(self, study: dict[str, Any]) -> None:
        path = self.path / STUDY
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            raise ConfigError(f"{path} cannot be read; give {_REMEDY}.") from None
        # Convert the types as in the file: JSON turns tuples into lists.
        study = json.loads(json.dumps(study))
        missing = object()
        for key in (*study, *found):
            there, here = found.get(key, missing), study.get(key, missing)
            if there == here:
                continue
            if key == "log":
                raise ConfigError(
                    f"{self.path} holds a study of another log, or the log has changed; "
                    f"give {_REMEDY}."
                )
            there, here = ("nothing" if one is missing else shown(one) for one in (there, here))
            raise ConfigError(
                f"{self.path} holds another study, with {key}={there}, not {here}; give {_REMEDY}."
            )

    def has_trials(self) -> bool:
        """Whether there is a finished trial or a checkpoint of the current trial."""
        return (self.path / TRIALS).exists() or any(self.trial.glob("checkpoints/last-*"))

    def leave(self) -> None:
        """Unlocks the folder, and removes it if it is new or restarted and has no trial."""
        if self._removable and not self.has_trials():
            self._work.abandon()
        self._work.release()
