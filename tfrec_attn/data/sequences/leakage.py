"""Whether training sees events that are later than the test events."""

from dataclasses import asdict, dataclass

import numpy as np

from tfrec_attn.data.sequences.splits import Split


@dataclass(frozen=True)
class LeakReport:
    """How far the training of a split looks past its test events; all are shares in 0..1.

    Attributes:
        tests_before_training: Test events that some training event, of any user, came after.
        training_after_median_test: Training events later than the median test event.
        targets_only_seen_later: Test events whose item was trained on, but not before or at the
            time of the test.
        ties: Events at the same time as the event before them of the same user, so that their order
            is that of the file.
    """

    tests_before_training: float
    training_after_median_test: float
    targets_only_seen_later: float
    ties: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.tests_before_training:.1%} of the test events have training events after them, and "
            f"{self.training_after_median_test:.1%} of the training events are later than the median test event;\n"
            f"{self.targets_only_seen_later:.1%} of the test items were trained on only later than their test, and "
            f"{self.ties:.1%} of the events share their time with the one before."
        )


def leak_report(split: Split) -> LeakReport:
    """Measures what a split lets the training know of the time after its test events."""
    if split.prepared is not None:
        return split.prepared.leaks()
    sequences, train = split.sequences, split.train_mask()
    times, tests = sequences.timestamps, split.sequences.timestamps[split.test]
    first_seen = np.full(sequences.num_items + 1, np.inf)
    np.minimum.at(first_seen, sequences.items[train], times[train])
    seen = first_seen[sequences.items[split.test]]
    later = np.ones(len(times), bool)
    later[sequences.offsets[:-1][sequences.lengths > 0]] = False
    ties = np.count_nonzero(times[1:][later[1:]] == times[:-1][later[1:]])
    latest = times[train].max(initial=times.min())
    return LeakReport(
        tests_before_training=float(np.mean(tests < latest)),
        training_after_median_test=float(np.mean(times[train] > np.median(tests))),
        targets_only_seen_later=float(np.mean(np.isfinite(seen) & (seen > tests))),
        ties=float(ties / max(1, np.count_nonzero(later))),
    )
