"""The evaluation protocol: figures can be compared only if its hash is the same."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrec_attn.config import Config
from tfrec_attn.errors import ConfigError, shown

# Keys of `data` that belong to the model, not to the log and its split.
OF_THE_MODEL = ("max_length", "targets", "window", "mask_share", "mask_last")
# If a larger share of the validation targets is in the history, all items compete.
_REPEATED_SHARE = 0.05
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
    """The rule for items of the history, and the shares of targets among them.

    Attributes:
        rule: "exclude": items of the history are never recommended, and a target among them is a
            miss. "include": all items compete.
        chosen_by: "configuration" if `evaluate.repeats` is set, else "data".
        valid: Share of the validation targets in the history of their user, in 0..1.
        test: Share of the test targets.
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
        setting: `evaluate.repeats`; None chooses "include" if more than 5 % of the validation
            targets are in the history of their user, else "exclude".
        valid: Whether each validation target is in the history, bool [U].
        test: Whether each test target is.
    """
    shares = [float(np.mean(repeated)) if len(repeated) else 0.0 for repeated in (valid, test)]
    by_data = "include" if shares[0] > _REPEATED_SHARE else "exclude"
    return Repeats(setting or by_data, "configuration" if setting else "data", *shares)


def protocol(config: Config, log: str) -> dict[str, object]:
    """Returns the rules that a run's figures depend on, and their hash.

    Args:
        config: Configuration with `evaluate.repeats` set.
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
    if config.evaluate.targets is not None:
        rules["targets"] = config.evaluate.targets
    text = json.dumps(rules, sort_keys=True)
    return {**rules, "hash": hashlib.sha256(text.encode()).hexdigest()[:16]}


def require_same_protocol(reports: Mapping[Any, Mapping[str, Any]], remedy: str) -> None:
    """Checks that runs were evaluated by the same protocol.

    Args:
        reports: Folder of a run -> its metrics.json.
        remedy: What to do, as the end of the error message.

    Raises:
        ConfigError: If the protocol of a run differs from that of the first.
    """
    first = None
    for folder, report in reports.items():
        here = report.get("protocol", {})
        first = here if first is None else first
        if here.get("hash") == first.get("hash"):
            continue
        key = next((one for one in first if one != "hash" and here.get(one) != first[one]), "hash")
        raise ConfigError(
            f"{folder} was evaluated by another protocol than the runs before it: {key} is "
            f"{shown(here.get(key))}, not {shown(first.get(key))}; {remedy}."
        )
