"""How far a training is, apart from its variables."""

import dataclasses
import json


@dataclasses.dataclass
class Progress:
    """Where a training stands, as it is written beside its weights.

    Attributes:
      epoch: epochs done, validation included.
      step: steps done of the epoch after those.
      history: for each epoch done its row of history.csv, without the number.
      seconds: of the training steps of each epoch, the one that is under way included.
      begun: the epochs at which a process began to train; tracing is in their seconds.
      train_seconds: of all processes so far.
      loss: state of the mean loss of the epoch under way.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    begun: list[int] = dataclasses.field(default_factory=list)
    train_seconds: float = 0.0
    loss: list[float] = dataclasses.field(default_factory=list)

    def best_epoch(self, metric: str) -> int:
        """The first epoch, from 0, with the highest value of a validation metric such as "MRR"."""
        values = [row[f"val_{metric}"] for row in self.history]
        return values.index(max(values))

    def is_over(self, epochs: int, metric: str, patience: int) -> bool:
        """Whether all epochs are done, or the last `patience` of them were not better than the best
        one before.
        """
        return self.epoch >= epochs or (
            self.step == 0
            and self.epoch > 0
            and self.epoch - 1 - self.best_epoch(metric) >= patience
        )

    def steady_seconds(self) -> float:
        """Mean seconds of an epoch's training steps, without the first of each process where there
        are others.
        """
        done = self.seconds[: self.epoch]
        steady = [seconds for epoch, seconds in enumerate(done) if epoch not in self.begun] or done
        return sum(steady) / len(steady)

    def to_json(self) -> str:
        """Text that `from_json` reads back to the last bit of every number."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """The progress that `to_json` wrote."""
        return cls(**json.loads(text))
