"""What a process with the other Keras does: `python -m tests.export.other_keras RUN FOLDER`.

It scores with the run, exports it to FOLDER/servable, and trains a run FOLDER/run like it.
"""

import contextlib
import io
import sys
from pathlib import Path

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn import train
from tfrec_attn.runs import run, run_files

HISTORIES = np.array([[0, 0, 1, 2], [3, 9, 4, 5], [0, 0, 0, 7]], np.int32)


def scores(folder):
    import tensorflow as tf

    features = {"user": tf.constant([1, 2, 0]), "history": tf.constant(HISTORIES)}
    return run.load_model(folder)(features).numpy()[:, 1:]


def main(old, folder):
    from export import command

    config = configuration.load(old / run_files.CONFIG, [f"run_dir={folder / 'run'}"])
    with contextlib.redirect_stdout(io.StringIO()):
        assert command.main([str(old), "--to", str(folder / "servable")]) == 0
        train.train(config)
    np.savez(folder / "scores.npz", old=scores(old), new=scores(folder / "run"))
    import tensorflow as tf

    sys.stdout.write(tf.keras.layers.Layer.__module__.partition(".")[0])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
