"""The states that a training can go on from, each whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from tfrec_attn.errors import TrainingError
from tfrec_attn.files.checksums import SUMS, damage, read_sums, seal, to_disk
from tfrec_attn.files.work_folder import remove
from tfrec_attn.runs.run import BEST, STATES
from tfrec_attn.training.progress import Progress

_WEIGHTS, _BEST, _PROGRESS = "weights", "best", "progress.json"
_KEPT = 2
# What a state holds, also while it is written.
_KNOWN = (f"{_WEIGHTS}.*", f"{_WEIGHTS}_temp/*", f"{_BEST}.*", _PROGRESS, SUMS, "checkpoint")


class Checkpoints:
    """The last two states of a training, `checkpoints/last-<steps>`, and the weights of its best
    epoch.

    A state holds the model's weights with the optimizer, the best weights until then, the progress,
    and the checksums of these files. It is written under another name, brought to the disk and
    renamed, so that a process that is killed leaves the states before it as they were.

    Args:
      folder: the run's.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, model, progress: Progress, steps: int, is_best: bool) -> None:
        """Writes the state after some steps in all, unless it is there.

        Args:
          model: compiled; `save_weights` writes its optimizer too.
          progress: what goes with it.
          steps: that the training has done.
          is_best: these weights are the best, instead of those of the state before.

        Errors: TrainingError when it cannot be written; the states before it stay.
        """
        target = self.folder / f"{STATES}{steps:09d}"
        if (target / SUMS).exists():
            return
        before, draft = self._states(), target.with_name(f".{target.name}")
        with writing(target):
            try:
                _remove(draft)
                draft.mkdir(parents=True, exist_ok=True)
                model.save_weights(str(draft / _WEIGHTS))
                # Keras' note of where the weights lie, which the rename would make wrong.
                (draft / "checkpoint").unlink(missing_ok=True)
                if is_best:
                    _link(draft, _WEIGHTS, draft)
                elif before:
                    _link(before[0], _BEST, draft)
                (draft / _PROGRESS).write_text(progress.to_json(), encoding="utf-8")
                seal(draft, [path.name for path in _files(draft)])
                draft.rename(target)
                to_disk(target.parent)
            finally:
                _remove(draft)
        self._keep(_KEPT)

    def any(self) -> bool:
        """Whether there is a state, be it damaged."""
        return bool(self._states())

    def restore(self, model, say: Callable[[str], None]) -> Progress | None:
        """Gives a compiled model the newest state that is whole, and removes those that are not.

        Args:
          model: as it was saved.
          say: takes a line for each state that is damaged.

        Returns: its progress, or None where no state is whole.

        Errors: TrainingError when the state does not fit the model.
        """
        for state in self._states():
            problem = _problem(state)
            if problem is None:
                # The slots must be there to be filled.
                model.optimizer.build(model.trainable_variables)
                try:
                    model.load_weights(str(state / _WEIGHTS)).assert_existing_objects_matched()
                except (AssertionError, ValueError, tf.errors.OpError):
                    raise TrainingError(
                        f"{state} is of another model or optimizer; give --restart to begin anew."
                    ) from None
                return Progress.from_json((state / _PROGRESS).read_text(encoding="utf-8"))
            say(f"{state} is damaged ({problem}) and was removed.")
            _remove(state)
        return None

    def finish(self, model) -> None:
        """Leaves the newest state, and the best weights in `checkpoints/best` and in the model."""
        self._keep(1)
        with writing(self.folder / BEST):
            _link(self._states()[0], _BEST, (self.folder / BEST).parent)
        model.load_weights(str(self.folder / BEST)).expect_partial()

    def _states(self) -> list[Path]:
        """The newest first."""
        pattern = self.folder / STATES
        return sorted(
            (path for path in pattern.parent.glob(f"{pattern.name}*") if path.is_dir()),
            reverse=True,
        )

    def _keep(self, count: int) -> None:
        for state in self._states()[count:]:
            _remove(state)


@contextlib.contextmanager
def writing(path: Path):
    """Turns what the disk refuses inside into a TrainingError that names the path."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
        raise  # Of another process, which saves too.
    except (OSError, tf.errors.OpError) as error:
        reason = (
            getattr(error, "strerror", None)
            or str(getattr(error, "message", error)).splitlines()[0]
        )
        raise TrainingError(f"{path} cannot be written: {reason.rstrip('.')}.") from None


def _remove(state: Path) -> None:
    """Removes a state, of whose folder only what this module writes."""
    remove(state, _KNOWN)
    with contextlib.suppress(OSError):
        state.rmdir()


def _link(source: Path, name: str, folder: Path) -> None:
    """The weights of one name in a folder as `best` in another; the files are shared where the disk
    can do so.
    """
    for path in _files(source):
        if path.name.startswith(f"{name}."):
            target = folder / f"{_BEST}{path.name.removeprefix(name)}"
            target.unlink(missing_ok=True)
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)


def _problem(state: Path) -> str | None:
    """Returns what is wrong with a state, or None."""
    try:
        sums = read_sums(state)
    except ValueError as error:
        return str(error)
    if not {f"{_WEIGHTS}.index", _PROGRESS} <= sums.keys():
        return f"{SUMS} is not complete"
    found = ((name, damage(state / name, expected)) for name, expected in sums.items())
    return next((f"{name} {what}" for name, what in found if what), None)


def _files(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.iterdir() if path.is_file()))
