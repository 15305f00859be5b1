"""The progress of a training, without its variables."""

import dataclasses
import json
import math


@dataclasses.dataclass
class Progress:
    """The progress of a training, which a checkpoint contains beside the weights.

    Attributes:
        epoch: Number of completed epochs, including their validation.
        step: Number of completed steps of the current epoch.
        history: Row of history.csv for each completed epoch, without the number of the epoch.
        seconds: Seconds of the training steps of each epoch, including the current one.
        begun: Epochs in which a process started; their seconds include tracing.
        train_seconds: Seconds of all processes so far.
        loss: State of the mean loss of the current epoch.
        steps: Number of steps of a whole epoch.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    begun: list[int] = dataclasses.field(default_factory=list)
    train_seconds: float = 0.0
    loss: list[float] = dataclasses.field(default_factory=list)
    steps: int = 1

    def best_epoch(self, metric: str) -> int:
        """Returns the first epoch, from 0, with the best value of a metric such as "MRR"."""
        values = [row[f"val_{metric}"] for row in self.history]
        return values.index(max(values))

    def patience(self, epochs: int, ema: float | None) -> int:
        """Returns the epochs without a better metric after which the training stops.

        Args:
            epochs: `train.patience`.
            ema: `train.ema`. An average of weights needs about 1 / (1 - ema) steps to follow the
                weights, so its earlier metrics say little. On a small log these are many epochs.
        """
        return epochs if ema is None else max(epochs, math.ceil(1 / (1 - ema) / self.steps))

    def is_over(self, epochs: int, metric: str, patience: int) -> bool:
        """Returns whether all epochs are completed, or the last `patience` ones did not improve."""
        if self.epoch >= epochs:
            return True
        between_epochs = self.step == 0 and self.epoch > 0
        return between_epochs and self.epoch - 1 - self.best_epoch(metric) >= patience

    def steady_seconds(self) -> float:
        """Returns the mean seconds of the training steps of an epoch.

        The first epoch of each process is left out if there are others.
        """
        done = self.seconds[: self.epoch]
        steady = [seconds for epoch, seconds in enumerate(done) if epoch not in self.begun] or done
        return sum(steady) / len(steady)

    def to_json(self) -> str:
        """Returns a text that `from_json` reads back exactly."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """Returns the progress that `to_json` wrote."""
        return cls(**json.loads(text))
