"""Exports a model without a run directory."""

from pathlib import Path

from tfrec_attn.config import Data
from tfrec_attn.models.base import SequenceModel
from tfrec_attn.runs.items import described, load_item_table

from .saved_model import publish, save
from .servable import Servable
from .vocabulary import SEPARATOR
from .warmup import write_warmup


def export_model(
    model: SequenceModel,
    to: str | Path,
    *,
    version: int | None = None,
    keep: int | None = None,
    k: int = 10,
    max_k: int = 100,
    keep_seen: bool | None = None,
    separator: str = SEPARATOR,
    items: str | Path | None = None,
    diverse: bool | None = None,
) -> Path:
    """Writes a version of a servable, which appears under its number when it is complete.

    The version has the same signatures and warm-up requests as one of `python -m
    tfrec_attn.export`. It has no model card and no configuration, because these describe a run.

    Args:
        model: A `SequenceModel` with an `item_vocabulary` and, if it `uses_user`, a
            `user_vocabulary`. Its `popularity`, float [N], ranks the items for requests in which
            nothing is known; if it is None, the model ranks them. The model does not change.
        to: Folder of the versions. Its name is the name of the model in TF Serving.
        version: Number of the version, positive and unused. None (default) takes the next one.
        keep: Number of versions that stay, including the new one. None (default) keeps all.
        k: Number of items that `serving_default` returns (default: 10).
        max_k: Most items that `recommend` returns (default: 100).
        keep_seen: Whether to recommend items of the history. None (default) follows
            `model.repeats`.
        separator: Character that joins ids in the joined signatures (default: the tab). No id may
            contain it.
        items: Items file, as for `data.items`. The signature `describe` returns its rows.
        diverse: Whether to add the signature `recommend_diverse`. None (default) adds it if there
            are `items`.

    Returns:
        The folder of the version.

    Raises:
        TypeError: If the model is not a `SequenceModel`.
        ValueError: If a vocabulary is missing, a vocabulary or the popularity has a wrong length,
            or a number is out of range.
        ConfigError: If the version exists, the folder cannot be written, or the separator is
            invalid. Then no files are left.
        DataError: If the items file cannot be used.
    """
    if not isinstance(model, SequenceModel):
        raise TypeError(
            f"model must be a tfrec_attn.models.SequenceModel, but is a {type(model).__name__}."
        )
    for kind, number in (("item", model.num_items), ("user", model.num_users)):
        vocabulary = getattr(model, f"{kind}_vocabulary")
        if kind == "user" and not model.uses_user:
            continue
        if vocabulary is None or len(vocabulary) != number:
            came = "has none" if vocabulary is None else f"has {len(vocabulary)}"
            raise ValueError(
                f"The model must have ids for its {number} {kind}s, but {came}; "
                f"call model.set_vocabularies({kind}s=...) before the export."
            )
    if model.popularity is not None and len(model.popularity) != model.num_items:
        raise ValueError(
            f"model.popularity must have one number for each of {model.num_items} items, "
            f"but has {len(model.popularity)}."
        )
    for name, value in (("version", version), ("keep", keep)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}.")
    to = Path(to)
    keep_seen = model.repeats == "include" if keep_seen is None else keep_seen
    table = items and load_item_table(Data(items=str(items)), model.item_vocabulary)
    servable = Servable(
        model,
        model.popularity,
        k=k,
        max_k=max_k,
        keep_seen=keep_seen,
        separator=separator,
        items=described(table.frame) if table else None,
        diverse=diverse,
    )

    def write(folder: Path) -> None:
        save(servable, folder)
        write_warmup(folder, name=to.resolve().name, max_length=model.max_length, max_k=max_k)

    return publish(to, version, write, keep)
