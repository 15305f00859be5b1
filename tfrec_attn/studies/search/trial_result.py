"""What is known of a finished trial."""

import dataclasses
from typing import Any

from tfrec_attn.training.progress import Progress

COMPLETED, PRUNED, FAILED = "completed", "pruned", "failed"


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """A finished trial.

    Attributes:
        state: "completed", "pruned" or "failed".
        values: Values of the searched keys.
        metrics: Validation metrics of the best epoch; none if no epoch was completed.
        best_epoch: The best epoch, from 1; 0 for none.
        epochs: Completed epochs.
        seconds: Seconds of all processes that trained it.
        parameters: Number of trainable weights; 0 if the model was not built.
        error: Why it failed, or None.
    """

    state: str
    values: dict[str, Any]
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    parameters: int = 0
    error: str | None = None

    def with_progress(self, progress: Progress, metric: str) -> "TrialResult":
        """Returns the result with the epochs of a training and the metrics of its best one."""
        if not progress.history:
            return self
        best = progress.best_epoch(metric)
        row = progress.history[best]
        metrics = {key[4:]: value for key, value in row.items() if key.startswith("val_")}
        return dataclasses.replace(
            self, metrics=metrics, best_epoch=best + 1, epochs=len(progress.history)
        )
