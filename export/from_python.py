"""From a model in Python to a version of a servable, without a run directory."""

from pathlib import Path

from tfrec_attn.models.base import SequenceModel

from .saved_model import publish, save
from .separator import SEPARATOR
from .servable import Servable
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
) -> Path:
    """Writes a version of a servable, which appears under its number when it is complete.

    It answers as one of `python -m export` does, with the same signatures and warm-up requests. A
    model card and a configuration are those of a run, and are left out.

    Args:
        model: With an `item_vocabulary` and, if it `uses_user`, a `user_vocabulary`: `Vocabulary`
            objects of its items and users. Where `popularity` is set, float [N], it answers for
            whom nothing is known; else the model does. It is copied, and stays as it is.
        to: Folder of the versions; its name is that of the model in TF Serving.
        version: A positive number that is not there yet; None takes the next one.
        keep: Versions that stay, the new one among them; None keeps all.
        k: Items of `serving_default`.
        max_k: Most items of `recommend`.
        keep_seen: Whether items of the history may be recommended; None follows `model.repeats`.
        separator: The character that joins ids in the texts of the joined signatures; it stands in
            no id of an item.

    Returns:
        The folder of the version.

    Raises:
        TypeError: If the model is no `SequenceModel`.
        ValueError: If a vocabulary is missing or not of the model's size, or if a number is out of
            its range.
        ConfigError: If the version exists, if the folder cannot be written, or for the separator.
            Nothing is left then.
    """
    if not isinstance(model, SequenceModel):
        raise TypeError(
            f"model must be a tfrec_attn.models.SequenceModel, but is a {type(model).__name__}."
        )
    for kind, number in (
        ("item", model.num_items),
        *((("user", model.num_users),) if model.uses_user else ()),
    ):
        vocabulary = getattr(model, f"{kind}_vocabulary")
        if vocabulary is None or len(vocabulary) != number:
            came = "is None" if vocabulary is None else f"has {len(vocabulary)}"
            raise ValueError(
                f"model.{kind}_vocabulary must be a Vocabulary of its {number} {kind}s, but {came}; set it before the export."
            )
    if model.popularity is not None and len(model.popularity) != model.num_items:
        raise ValueError(
            f"model.popularity must have one number for each of {model.num_items} items, but has {len(model.popularity)}."
        )
    for name, value in (("version", version), ("keep", keep)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}.")
    keep_seen, to = model.repeats == "include" if keep_seen is None else keep_seen, Path(to)
    servable = Servable(
        model, model.popularity, k=k, max_k=max_k, keep_seen=keep_seen, separator=separator
    )

    def write(folder: Path) -> None:
        save(servable, folder)
        write_warmup(folder, name=to.resolve().name, max_length=model.max_length, max_k=max_k)

    return publish(to, version, write, keep)
