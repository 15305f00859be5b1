"""The metrics of each epoch in `history.csv` and in the events of TensorBoard."""

import csv
import os
from pathlib import Path

import tensorflow as tf

from tfrec_attn.cli.terminal import write_line
from tfrec_attn.files.work_folder import remove
from tfrec_attn.training.checkpoints import writing
from tfrec_attn.training.diagnostics import Diagnostics
from tfrec_attn.training.progress import Progress


class HistoryWriter(tf.keras.callbacks.Callback):
    """Writes the metrics and diagnostics of each epoch, and prints the diagnostics.

    Args:
        folder: The run.
        progress: Its `history` is extended. Epochs that it already has are written at the start.
        diagnostics: The training diagnostics.
    """

    def __init__(self, folder: Path, progress: Progress, diagnostics: Diagnostics):
        super().__init__()
        self.folder = folder
        self.progress = progress
        self.diagnostics = diagnostics
        self._writers = {}

    def on_train_begin(self, logs=None):
        events = self.folder / "tensorboard"
        with writing(events):
            remove(events, ["*/events.out.tfevents.*"])
            self._writers = {
                part: tf.summary.create_file_writer(str(events / part))
                for part in ("train", "validation")
            }
        for epoch in range(self.progress.epoch):
            self._write_events(epoch)

    def on_epoch_end(self, epoch, logs=None):
        figures = self.diagnostics()
        metrics = {key: float(value) for key, value in (logs or {}).items()}
        self.progress.history.append({**metrics, **figures})
        self._write_events(epoch)
        write_history(self.folder / "history.csv", self.progress.history)
        write_line(self.diagnostics.describe(figures))

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()

    def _write_events(self, epoch: int) -> None:
        with writing(self.folder / "tensorboard"):
            for name, value in self.progress.history[epoch].items():
                part = "validation" if name.startswith("val_") else "train"
                with self._writers[part].as_default():
                    tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, step=epoch)
            for writer in self._writers.values():
                writer.flush()


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Replaces a CSV file by a row for each epoch, from 0, with columns in alphabetical order."""
    draft = path.with_name(f".{path.name}")
    with writing(path):
        with open(draft, "w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, ["epoch", *sorted(history[0])])
            table.writeheader()
            table.writerows({"epoch": epoch, **row} for epoch, row in enumerate(history))
        os.replace(draft, path)
