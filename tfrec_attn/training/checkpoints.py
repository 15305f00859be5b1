"""Checkpoints of a training, each of which is complete or absent."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.errors import TrainingError
from tfrec_attn.files.checksums import SUMS, damage, flush_to_disk, read_sums, seal
from tfrec_attn.files.work_folder import remove
from tfrec_attn.keras_versions import keras
from tfrec_attn.runs import weights
from tfrec_attn.runs.run_files import BEST, STATE_FILES, STATES
from tfrec_attn.training.progress import Progress
from tfrec_attn.training.validated_weights import keeps_other_weights, validated

_WEIGHTS, _BEST, _PROGRESS = "weights", "best", "progress.json"
_KEPT = 2


class Checkpoints:
    """The last two checkpoints of a training, `checkpoints/last-<steps>`, and its best weights.

    A checkpoint holds the weights with the optimizer, the best weights so far (see `validated`),
    the progress, and the checksums of these files. It is written under another name, flushed to the
    disk and renamed. A killed process therefore leaves the earlier checkpoints intact.

    Args:
        folder: The run.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, model: Any, progress: Progress, steps: int, is_best: bool) -> None:
        """Writes a checkpoint, unless it exists.

        Args:
            model: A compiled model, whose optimizer is saved too.
            progress: The progress of the training.
            steps: Number of completed steps of the training.
            is_best: Whether these weights are the best so far. If not, the checkpoint keeps the
                best weights of the one before.

        Raises:
            TrainingError: If the checkpoint cannot be written; the earlier checkpoints stay.
        """
        target = self.folder / f"{STATES}{steps:09d}"
        if (target / SUMS).exists():
            return
        before, draft = self._newest_first(), target.with_name(f".{target.name}")
        with writing(target):
            try:
                _remove(draft)
                draft.mkdir(parents=True, exist_ok=True)
                weights.write(draft / _WEIGHTS, model)
                if is_best and keeps_other_weights(model):
                    with validated(model):
                        weights.write(draft / _BEST, model)
                elif is_best:
                    _link_as_best(draft, _WEIGHTS, draft)
                elif before:
                    _link_as_best(before[0], _BEST, draft)
                (draft / _PROGRESS).write_text(progress.to_json(), encoding="utf-8")
                seal(draft, [path.name for path in _files(draft)])
                draft.rename(target)
                flush_to_disk(target.parent)
            finally:
                _remove(draft)
        self._keep(_KEPT)

    def any(self) -> bool:
        """Returns whether there is a checkpoint, possibly a damaged one."""
        return bool(self._newest_first())

    def restore(self, model: Any) -> Progress | None:
        """Restores the newest intact checkpoint, and removes newer ones that are damaged.

        Args:
            model: A compiled model like the saved one.

        Returns:
            The progress of the checkpoint, or None if no checkpoint is intact.

        Raises:
            TrainingError: If the checkpoint does not fit the model.
        """
        for state in self._newest_first():
            problem = _problem(state)
            if problem is None:
                # Only slots that exist are restored.
                keras.build(model.optimizer, model.trainable_variables)
                try:
                    weights.read(state / _WEIGHTS, model, model.optimizer)
                except (AssertionError, ValueError, tf.errors.OpError):
                    raise TrainingError(
                        f"{state} is of another model or optimizer; give --restart to start again."
                    ) from None
                return Progress.from_json((state / _PROGRESS).read_text(encoding="utf-8"))
            write_line(f"{state} is damaged ({problem}) and was removed.")
            _remove(state)
        return None

    def finish(self, model: Any) -> None:
        """Keeps the newest checkpoint, and restores the best weights with their optimizer."""
        self._keep(1)
        best = self.folder / BEST
        with writing(best):
            _link_as_best(self._newest_first()[0], _BEST, best.parent)
        weights.read(best, model, model.optimizer)

    def save_best(self, model: Any) -> None:
        """Writes the weights of a model, with its optimizer if it has one, as the best ones."""
        best = self.folder / BEST
        with writing(best):
            best.parent.mkdir(exist_ok=True)
            for path in best.parent.glob(f"{best.name}.*"):
                path.unlink()
            weights.write(best, model)

    def _newest_first(self) -> list[Path]:
        pattern = self.folder / STATES
        found = [path for path in pattern.parent.glob(f"{pattern.name}*") if path.is_dir()]
        return sorted(found, reverse=True)

    def _keep(self, count: int) -> None:
        for state in self._newest_first()[count:]:
            _remove(state)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns disk errors in the context into a TrainingError that names the path."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    ):
        raise  # These are errors of another process, which saves too.
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None)
        reason = reason or str(getattr(error, "message", error)).splitlines()[0]
        raise TrainingError(f"{path} cannot be written: {reason.rstrip('.')}.") from None


def _remove(state: Path) -> None:
    remove(state, STATE_FILES)
    with contextlib.suppress(OSError):
        state.rmdir()


def _link_as_best(source: Path, name: str, folder: Path) -> None:
    """Links the weights of a name in one folder as the best weights of another, or copies them."""
    for path in _files(source):
        if path.name.startswith(f"{name}."):
            target = folder / f"{_BEST}{path.name.removeprefix(name)}"
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)


def _problem(state: Path) -> str | None:
    """Returns what is wrong with a checkpoint, or None."""
    try:
        sums = read_sums(state)
    except ValueError as error:
        return str(error)
    if not {f"{_WEIGHTS}.index", _PROGRESS} <= sums.keys():
        return f"{SUMS} is not complete"
    found = ((name, damage(state / name, expected)) for name, expected in sums.items())
    return next((f"{name} {problem}" for name, problem in found if problem), None)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())
