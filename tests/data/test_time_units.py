"""Times of different units are told from times far apart."""

import numpy as np
import pytest

from tfrec_attn.data.time_units import TimeUnits
from tfrec_attn.errors import DataError

NOW = 1_700_000_000


@pytest.mark.parametrize(
    "parts",
    [
        [[NOW, NOW + 5], [NOW - 10**9]],
        [[0, 5, 10**6], [NOW]],
        [list(range(0, 5 * 10**8, 10**6))],
        [[NOW * 1000, 1]],
        [[NOW] * 200 + [NOW * 1000]],  # one of many
        [[]],
    ],
)
def test_one_unit(parts):
    units = TimeUnits()
    for number, part in enumerate(parts):
        units.add(f"{number}.tsv", np.array(part))


@pytest.mark.parametrize("parts", [[[NOW], [NOW * 1000]], [[NOW * 1000.5], [NOW]], [[NOW * 10**6] * 3 + [NOW * 1000]]])
def test_several_units(parts):
    units = TimeUnits()
    with pytest.raises(
        DataError, match=r"^the times are of different units, such as 17\d* in \d.tsv and .* in \d.tsv: convert them to one\.$"
    ):
        for number, part in enumerate(parts):
            units.add(f"{number}.tsv", np.array(part))


def test_ends_stand_for_the_times():
    one, other = TimeUnits(), TimeUnits()
    assert one.ends == (None, None)
    one.add("a.tsv", np.array([NOW, 7]))
    other.add_ends("none.tsv", *TimeUnits().ends)
    other.add_ends("a.tsv", *one.ends)
    assert other.ends == (NOW, NOW)
    with pytest.raises(DataError, match="different units"):
        other.add_ends("b.tsv", NOW * 1000.0, NOW * 1000.0)


def test_negative_times():
    with pytest.raises(DataError, match=r"^a.tsv holds 2 negative times, such as -7: correct them\.$"):
        TimeUnits().add("a.tsv", np.array([-7, 3, -1]))
