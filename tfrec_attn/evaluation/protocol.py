"""Under which rules a figure was measured: figures with different hashes cannot be compared."""

import dataclasses
import hashlib
import json

import numpy as np

from tfrec_attn.config import Config

# Above this share of repeated validation targets, repeats are part of what users do.
_SHARE = 0.05
_FILTERS = (
    "min_user_events",
    "min_item_events",
    "min_rating",
    "event_types",
    "event_weights",
    "session_gap",
    "repeats",
)


@dataclasses.dataclass(frozen=True)
class Repeats:
    """What happens to items of the history, and how many targets are among them.

    Attributes:
        rule: "exclude": items of the history are never recommended, so that a target in the history
            is a miss. "include": all items compete.
        chosen_by: "configuration" where `evaluate.repeats` is set, else "data".
        valid: Share of the validation targets that are in their user's history, in 0..1.
        test: The same of the test targets.
    """

    rule: str
    chosen_by: str
    valid: float
    test: float

    def __str__(self) -> str:
        if not self.valid and not self.test:
            return f"No target is in its user's history (evaluate.repeats={self.rule})."
        shares = (
            f"{self.valid:.1%} of the validation targets and {self.test:.1%} of the test targets"
        )
        effect = "they are misses" if self.rule == "exclude" else "all items compete"
        why = ", chosen by the data" if self.chosen_by == "data" else ""
        return (
            f"{shares} are in their user's history: {effect} (evaluate.repeats={self.rule}{why})."
        )


def choose_repeats(setting: str | None, valid: np.ndarray, test: np.ndarray) -> Repeats:
    """Chooses the rule for items of the history.

    Args:
        setting: `evaluate.repeats`; None lets the data decide: "include" where more than 5 % of the
            validation targets are in their user's history.
        valid: Whether each validation target is in its user's history, bool [U].
        test: The same of the test targets.
    """
    shares = [float(np.mean(repeated)) if len(repeated) else 0.0 for repeated in (valid, test)]
    by_data = "include" if shares[0] > _SHARE else "exclude"
    return Repeats(setting or by_data, "configuration" if setting else "data", *shares)


def protocol(config: Config, log: str) -> dict[str, object]:
    """Returns the rules of a run's figures with their hash.

    Args:
        config: With `evaluate.repeats` set.
        log: Checksum of the prepared events.
    """
    data = config.data
    rules = {
        "log": log,
        "filters": {key: getattr(data, key) for key in _FILTERS},
        "split": data.split,
        "valid_from": data.valid_from,
        "test_from": data.test_from,
        "ranked_against": "all items",
        "repeats": config.evaluate.repeats,
        "ties": "against the target",
        "k": config.evaluate.k,
    }
    text = json.dumps(rules, sort_keys=True)
    return {**rules, "hash": hashlib.sha256(text.encode()).hexdigest()[:16]}
