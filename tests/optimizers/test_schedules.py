"""Learning rates worked by hand."""

import pytest
import tensorflow as tf

from tfrec_attn.optimizers import WarmUp


def rates(schedule, steps):
    """Of steps 1, 2, ..., which an optimizer asks for by the number of steps before."""
    return [float(schedule(tf.constant(done, tf.int64))) for done in range(steps)]


# Warm-up over 2 steps to 8, then 4 steps to the last, which is step 6; one step more stays there.
# Cosine at p = 1/4, 1/2, 3/4, 1: (1 + cos(pi p)) / 2 = 0.853553, 0.5, 0.146447, 0.
@pytest.mark.parametrize(
    ("name", "final", "expected"),
    [
        ("constant", 0.0, [4, 8, 8, 8, 8, 8, 8]),
        ("linear", 0.0, [4, 8, 6, 4, 2, 0, 0]),
        ("linear", 4.0, [4, 8, 7, 6, 5, 4, 4]),
        ("cosine", 0.0, [4, 8, 6.828427, 4, 1.171573, 0, 0]),
        ("cosine", 4.0, [4, 8, 7.414214, 6, 4.585786, 4, 4]),
        (
            "inverse_sqrt",
            0.0,
            [4, 8, 6.531973, 5.656854, 5.059644, 4.618802, 4.276180],
        ),  # 8 sqrt(2 / s)
    ],
)
def test_by_hand(name, final, expected):
    assert rates(WarmUp(8.0, name, 2, 6, final), 7) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [8, 8, 8]),
        ("linear", [4, 0, 0]),
        ("cosine", [4, 0, 0]),
        ("inverse_sqrt", [8, 5.656854, 4.618802]),
    ],
)
def test_without_warm_up(name, expected):
    assert rates(WarmUp(8.0, name, total_steps=2), 3) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_warm_up_as_long_as_the_training(name):
    assert rates(WarmUp(8.0, name, 4, 4), 4) == pytest.approx([2, 4, 6, 8])


def test_in_a_graph():
    schedule = WarmUp(8.0, "cosine", 2, 6)
    assert [
        float(tf.function(schedule)(tf.constant(done, tf.int64))) for done in range(6)
    ] == pytest.approx(rates(schedule, 6))


def test_configuration_round_trip():
    schedule = WarmUp(8.0, "cosine", 2, 6, 1.0)
    again = tf.keras.optimizers.schedules.deserialize(
        tf.keras.optimizers.schedules.serialize(schedule)
    )
    assert type(again) is WarmUp
    assert rates(again, 7) == rates(schedule, 7)
    optimizer = tf.keras.optimizers.SGD(schedule)
    assert rates(type(optimizer).from_config(optimizer.get_config())._learning_rate, 7) == rates(
        schedule, 7
    )


def test_what_is_no_schedule():
    with pytest.raises(
        ValueError,
        match=r"^schedule must be one of constant, linear, cosine, inverse_sqrt, but is 'step'\.$",
    ):
        WarmUp(0.1, "step")
    for total in (None, 2):
        sentence = (
            rf"^total_steps must be at least 1 and those of the warm-up, 3, but is {total}\.$"
        )
        with pytest.raises(ValueError, match=sentence):
            WarmUp(0.1, "linear", 3, total)
