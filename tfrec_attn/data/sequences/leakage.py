"""Measures whether training sees events that are later than the test events."""

from dataclasses import asdict, dataclass

import numpy as np

from tfrec_attn.data.sequences.splits import Split


@dataclass(frozen=True)
class LeakReport:
    """What training knows of the time after the test events, as shares in 0..1.

    Attributes:
        tests_before_training: Share of test events with a later training event of any user.
        training_after_median_test: Share of training events later than the median test event.
        targets_only_seen_later: Share of test events whose item has training events, but none
            before or at the time of the test event.
        ties: Share of events at the same time as the previous event of their user. The file decides
            the order of such events.
    """

    tests_before_training: float
    training_after_median_test: float
    targets_only_seen_later: float
    ties: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.tests_before_training:.1%} of the test events have training events after them, "
            f"and {self.training_after_median_test:.1%} of the training events are later than the "
            f"median test event;\n{self.targets_only_seen_later:.1%} of the test events are of "
            f"items whose training events are all later, and {self.ties:.1%} of the events have "
            "the same time as the event before."
        )


def leak_report(split: Split) -> LeakReport:
    """Measures what training knows of the time after the test events."""
    if split.prepared is not None:
        return split.prepared.leaks()
    sequences, train = split.sequences, split.train_mask()
    times, tests = sequences.timestamps, sequences.timestamps[split.test]
    first_seen = np.full(sequences.num_items + 1, np.inf)
    np.minimum.at(first_seen, sequences.items[train], times[train])
    seen = first_seen[sequences.items[split.test]]
    follows = np.ones(len(times), bool)
    follows[sequences.offsets[:-1][sequences.lengths > 0]] = False
    ties = np.count_nonzero((np.diff(times) == 0) & follows[1:])
    latest = times[train].max(initial=times.min())
    return LeakReport(
        tests_before_training=float(np.mean(tests < latest)),
        training_after_median_test=float(np.mean(times[train] > np.median(tests))),
        targets_only_seen_later=float(np.mean(np.isfinite(seen) & (seen > tests))),
        ties=float(ties / max(1, np.count_nonzero(follows))),
    )
