"""What a process with the other Keras does: `python -m tests.export.other_keras RUN FOLDER`.

It scores with the run, exports it to FOLDER/servable, trains a run FOLDER/run like it, which
`interrupted` copies to FOLDER/half.partial, resumes FOLDER/resumed.partial, and writes its
`public_names`.
"""

import contextlib
import importlib
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from tfrec_attn import config as configuration
from tfrec_attn import models, train
from tfrec_attn.keras_versions import keras
from tfrec_attn.runs import run, run_files

PUBLIC = ("layers", "losses", "optimizers")
HISTORIES = np.array([[0, 0, 1, 2], [3, 9, 4, 5], [0, 0, 0, 7]], np.int32)


def scores(folder):
    import tensorflow as tf

    features = {"user": tf.constant([1, 2, 0]), "history": tf.constant(HISTORIES)}
    return run.load_model(folder)(features).numpy()[:, 1:]


def interrupted(config, partial, steps):
    """Trains, and copies the unfinished run after a number of steps, of which some are saved."""
    from tests.training.interrupted import at_batch

    with at_batch(steps, lambda saver: shutil.copytree(saver.checkpoints.folder, partial)):
        return train.train(config)


def resumed(partial):
    """Trains the rest of `<run_dir>.partial`, and returns the run and what was printed."""
    changes = [f"run_dir={partial.with_suffix('')}"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        folder = train.train(configuration.load(partial / run_files.CONFIG, changes))
    return folder, out.getvalue()


def public_names():
    """Returns part of the package -> [its public names, those of them that our code defines]."""
    modules = [importlib.import_module(f"tfrec_attn.{one}") for one in PUBLIC]
    parts = [keras, *modules, *map(models.get, models.names())]
    parts += [one for module in modules for one in vars(module).values() if isinstance(one, type)]
    return {one.__name__.rstrip("23"): [_public(dir(one)), _public(_own(one))] for one in parts}


def _own(part):
    if isinstance(part, type):
        ours = [one for one in part.__mro__ if _home(one).startswith("tfrec_attn")]
        return {name for one in ours for name in vars(one)}
    functions = [name for name, value in vars(part).items() if _home(value) == part.__name__]
    return getattr(part, "__all__", functions)


def _home(value):
    return getattr(value, "__module__", "")


def _public(names):
    return sorted(name for name in names if not name.startswith("_"))


def main(old, folder):
    from export import command

    changes = [f"run_dir={folder / 'run'}", "train.epochs=2", "runtime.checkpoint_seconds=1e-9"]
    config = configuration.load(old / run_files.CONFIG, changes)
    with contextlib.redirect_stdout(io.StringIO()):
        assert command.main([str(old), "--to", str(folder / "servable")]) == 0
        interrupted(config, folder / "half.partial", 3)
    (folder / "names.json").write_text(json.dumps(public_names()))
    assert "Resuming from" in resumed(folder / "resumed.partial")[1]
    np.savez(folder / "scores.npz", old=scores(old), new=scores(folder / "run"))
    import tensorflow as tf

    sys.stdout.write(tf.keras.layers.Layer.__module__.partition(".")[0])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
