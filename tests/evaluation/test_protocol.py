"""The choice of the rule for repeats, and the hash of a protocol."""

import dataclasses

import numpy as np
import pytest

from tfrec_attn import config as configuration
from tfrec_attn.evaluation.protocol import choose_repeats, protocol


def repeated(count, of=100):
    return np.arange(of) < count


@pytest.mark.parametrize(
    ("setting", "valid", "rule", "by"),
    [
        (None, 0, "exclude", "data"),
        (None, 5, "exclude", "data"),
        (None, 6, "include", "data"),
        ("exclude", 60, "exclude", "configuration"),
        ("include", 0, "include", "configuration"),
    ],
)
def test_the_validation_targets_decide_where_nothing_is_set(setting, valid, rule, by):
    found = choose_repeats(setting, repeated(valid), repeated(30, of=40))
    assert (found.rule, found.chosen_by, found.valid, found.test) == (rule, by, valid / 100, 0.75)


def test_no_validation_targets():
    assert choose_repeats(None, repeated(0, of=0), repeated(3, of=4)).rule == "exclude"


def test_the_share_is_told():
    text = str(choose_repeats(None, repeated(19), repeated(1, of=8)))
    assert text == (
        "19.0% of the validation targets and 12.5% of the test targets "
        "are in their user's history: "
        "all items compete (evaluate.repeats=include, chosen by the data)."
    )
    assert "they are misses (evaluate.repeats=exclude)." in str(
        choose_repeats("exclude", repeated(19), repeated(1))
    )
    assert str(choose_repeats(None, repeated(0), repeated(0))).startswith("No target is in")


def test_the_hash_follows_every_rule():
    base = configuration.from_dict({"evaluate": {"repeats": "exclude"}})
    others = [
        configuration.from_dict({"evaluate": {"repeats": "include"}}),
        configuration.from_dict({"evaluate": {"repeats": "exclude", "k": [7]}}),
        configuration.from_dict(
            {"evaluate": {"repeats": "exclude"}, "data": {"min_item_events": 2}}
        ),
    ]
    hashes = {protocol(one, "abc")["hash"] for one in (base, *others)} | {
        protocol(base, "abd")["hash"]
    }
    assert len(hashes) == 5
    # What was trained, and how, is no part of it.
    other_model = dataclasses.replace(base, train=dataclasses.replace(base.train, epochs=3))
    assert protocol(other_model, "abc") == protocol(base, "abc")
