"""Trainings that are interrupted: small ones with a checkpoint after each second step."""

import contextlib

import pytest
import tensorflow as tf

from tfrec_attn.training import callbacks

# 66 users with 160 items; five or more steps an epoch, and a checkpoint after each second one.
TINY = [
    "data.events=2000",
    "train.epochs=3",
    "model.dim=8",
    "evaluate.bootstrap=7",
    "runtime.steps_per_execution=2",
]
OFTEN = "runtime.checkpoint_seconds=1e-9"
SAMPLED = [
    *TINY, "model.name=sasrec", "train.loss=sampled_softmax", "train.negatives=24",
    "train.batch_size=6", "train.optimizer=lazy_adam", "train.warmup_steps=4",
    "train.schedule=cosine", "train.clip_norm=1", "train.l2=1e-3", "train.accumulate=2",
    "train.ema=0.7",
]  # fmt: skip


@contextlib.contextmanager
def at_batch(steps, action):
    """Calls an action once, before the CheckpointSaver, after a number of steps in all."""
    original, done = callbacks.CheckpointSaver.on_train_batch_end, []

    def on_train_batch_end(self, batch, logs=None):
        if self.progress.epoch * self.steps + batch + 1 >= steps and not done:
            done.append(True)
            action(self)
        original(self, batch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.CheckpointSaver, "on_train_batch_end", on_train_batch_end)
        yield


def weights(prefix):
    """Returns name -> value of a checkpoint, without Keras' object graph and save counter."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name[0] != "_" and name != "save_counter"
    }


def last(folder):
    (state,) = (folder / "checkpoints").glob("last-*")
    return state / "weights"
