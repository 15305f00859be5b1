"""Writes the files of a version in ONNX or LiteRT, and checks its lists."""

import json
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfrec_attn
from tfrec_attn.models.base import SequenceModel

from ..model_copy import with_item_matrix
from ..servable import Servable
from . import recommender
from .conversion import convert
from .formats import FILES
from .list_agreement import check_lists

_README = """# {name}, version {version}

The model `{model}` for programs without TensorFlow, exported by tfrec-attn as {form}.

    pip install {packages}
    python recommender.py --history ID,ID --k 10

`recommender.py` is the runner; import `Recommender` from it, or read it as the description of what
another language has to do. Its lists are those of the SavedModel of the same run.

- `{file}`: from the numbers of a history to the query{prior}
- `items.txt`{users}: the ids, one a line; their numbers begin with 1
- `item_vectors.npy`: the vectors of the items; their products with the query are the scores
- `popularity.npy`: shares of the training events, the scores where nothing is known; negative for
  items without any, which come last
- `model.json`: {keys}
"""
_INSTALLED = {"onnx": "numpy onnxruntime", "litert": "numpy ai-edge-litert"}


def write_portable(
    folder: Path,
    model: SequenceModel,
    counts: np.ndarray,
    histories: list[tuple[str, list[str]]],
    about: dict,
) -> str:
    """Writes all files of a version, and compares its lists with those of the SavedModel.

    Args:
        folder: An empty folder.
        model: A model with vocabularies.
        counts: Number of training events of each item, [N].
        histories: (user, history) pairs whose lists are compared.
        about: "format", "name", "version", "model" and "keep_seen" for model.json, to which this
            function adds what the model says.

    Returns:
        A line about the comparison.

    Raises:
        ConfigError: If the model cannot be exported or converted, or a list differs.
    """
    # A `Servable` rejects models that cannot be served, and computes the popularity.
    servable = Servable(model, counts, keep_seen=about["keep_seen"])
    copy, vectors = with_item_matrix(model)
    file = folder / FILES[about["format"]]
    file.write_bytes(convert(copy, about["format"]))
    np.save(folder / "item_vectors.npy", vectors.numpy()[1:])
    np.save(folder / "popularity.npy", servable.popularity.numpy()[1:])
    _write_ids(folder, model)
    about = {**about, **_described(copy)}
    text = json.dumps(about, indent=2, ensure_ascii=False)
    (folder / "model.json").write_text(f"{text}\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(about), encoding="utf-8")
    shutil.copyfile(recommender.__file__, folder / "recommender.py")
    return check_lists(folder, servable, histories)


def _write_ids(folder: Path, model: SequenceModel) -> None:
    model.item_vocabulary.save(folder / "items.txt")
    if model.uses_user:
        users, trained = model.user_vocabulary.ids(), model.trained_users
        # A user without training events counts as unknown.
        kept = users if trained is None else np.where(trained, np.array(users, object), "")
        (folder / "users.txt").write_bytes("".join(f"{one}\n" for one in kept).encode("utf-8"))


def _described(model: SequenceModel) -> dict:
    """The facts about a model that the runner and readers of model.json need."""
    has_counts = model.transition_prior is not None
    has_prior = has_counts or type(model).prior is not SequenceModel.prior
    return {
        "items": model.num_items,
        "max_length": model.max_length,
        "uses_user": model.uses_user,
        "uses_history": bool(model.uses_history or has_counts),
        "prior": "part of the encoder" if has_prior else None,
        "versions": {"tfrec_attn": tfrec_attn.__version__, "tensorflow": tf.__version__},
    }


def _readme(about: dict) -> str:
    return _README.format(
        **{key: about[key] for key in ("name", "version", "model")},
        form=about["format"],
        packages=_INSTALLED[about["format"]],
        file=FILES[about["format"]],
        prior=", and the prior of some items" if about["prior"] else "",
        users=", `users.txt`" if about["uses_user"] else "",
        keys=", ".join(f"`{key}`" for key in about),
    )
