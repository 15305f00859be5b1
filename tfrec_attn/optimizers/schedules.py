"""Learning-rate schedules."""

import math

import tensorflow as tf

SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")


@tf.keras.utils.register_keras_serializable(package="tfrec_attn")
class WarmUp(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise from 0 to the learning rate, then a decay.

        rate(s) = learning_rate * s / W                                     for s <= W, else
        constant:      learning_rate
        linear:        final + (learning_rate - final) * (1 - p)
        cosine:        final + (learning_rate - final) * (1 + cos(pi p)) / 2
        inverse_sqrt:  learning_rate * sqrt(max(W, 1) / s)                  p = (s - W) / (S - W)

    s = 1, 2, ... is the number of a step; an optimizer calls the schedule with the number of steps
    before it. Step W has the full learning rate. With linear and cosine, step S and later steps
    have the final one.

    Args:
        learning_rate: The highest rate.
        schedule: "constant" (default), "linear", "cosine" or "inverse_sqrt".
        warmup_steps: W. Default 0.
        total_steps: S, for linear and cosine.
        final_learning_rate: Rate of step S, for linear and cosine. Default 0.
        first_step: Initial value of the optimizer's step counter. Default 0.

    Raises:
        ValueError: If the schedule is unknown, or if a linear or cosine one has fewer steps than
            the warm-up.

    Reference:
        Loshchilov, Hutter, "SGDR", ICLR 2017 (cosine); Vaswani et al., "Attention Is All You
        Need", NeurIPS 2017 (inverse_sqrt).
    """

    def __init__(
        self,
        learning_rate,
        schedule="constant",
        warmup_steps=0,
        total_steps=None,
        final_learning_rate=0.0,
        first_step=0,
    ):
        if schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {', '.join(SCHEDULES)}, but is {schedule!r}."
            )
        if schedule in ("linear", "cosine") and (
            total_steps is None or total_steps < max(warmup_steps, 1)
        ):
            raise ValueError(
                f"total_steps must be at least 1 and those of the warm-up, {warmup_steps}, "
                f"but is {total_steps}."
            )
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_learning_rate = final_learning_rate
        self.first_step = first_step

    def __call__(self, step):
        number, warmup = tf.cast(step - self.first_step, tf.float32) + 1.0, float(self.warmup_steps)
        rising = self.learning_rate * number / max(warmup, 1.0)
        return tf.where(number <= warmup, rising, self._decayed(number, warmup))

    def get_config(self):
        names = (
            "learning_rate",
            "schedule",
            "warmup_steps",
            "total_steps",
            "final_learning_rate",
            "first_step",
        )
        return {name: getattr(self, name) for name in names}

    def _decayed(self, number, warmup):
        if self.schedule == "constant":
            return tf.constant(self.learning_rate, tf.float32)
        if self.schedule == "inverse_sqrt":
            return self.learning_rate * tf.sqrt(max(warmup, 1.0) / number)
        progress = tf.minimum((number - warmup) / max(self.total_steps - warmup, 1.0), 1.0)
        left = (
            1.0 - progress
            if self.schedule == "linear"
            else (1.0 + tf.cos(math.pi * progress)) / 2.0
        )
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * left
