"""The losses by name: which batches each takes, and what it is called with."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

from tfrec_attn.losses.binary import bce, gbce
from tfrec_attn.losses.pairwise import bpr, hinge
from tfrec_attn.losses.sampled_softmax import sampled_softmax
from tfrec_attn.losses.softmax import softmax

BATCHES = ("windows", "next_items", "masked_items")


@dataclass(frozen=True)
class Loss:
    """A loss that `train.loss` can name.

    Attributes:
        function: With `of="scores"`: (positive [B, T], negative [B, T, K] or [B, 1, K], mask bool
            [B, T]) -> [B], the loss of each example. With `of="positions"`: (queries [P, D], items
            [R, D], targets [P], negatives, weights [P]) -> scalar, the weighted sum over the
            positions that have a target; `targets` and `negatives` are rows of `items`.
        of: "scores" or "positions".
        negatives: "own": K for each target, [P, K]. "shared": K for the whole batch, [K]. "none":
            `items` is the whole catalogue, and the function takes no negatives.
        batches: The kinds of batches that it takes.
        keywords: Names of further keywords of `function`, out of "margin", "calibration", "log_q"
            and "num_items".
    """

    function: Callable
    of: str = "scores"
    negatives: str = "own"
    batches: tuple[str, ...] = BATCHES
    keywords: dict[str, str] = field(default_factory=dict)


LOSSES = {
    "hinge": Loss(hinge, keywords={"margin": "margin"}),
    "bpr": Loss(bpr),
    "bce": Loss(bce, "positions"),
    "gbce": Loss(gbce, "positions", keywords={"num_items": "num_items", "t": "calibration"}),
    "softmax": Loss(softmax, "positions", "none"),
    "sampled_softmax": Loss(
        sampled_softmax,
        "positions",
        "shared",
        batches=("next_items", "masked_items"),
        keywords={"log_q": "log_q"},
    ),
}


def as_loss(loss: "str | Loss | Callable") -> Loss:
    """Returns the loss of a name; a plain function of scores is one too.

    Raises:
        ValueError: If there is no such name, or if the function takes other arguments.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, but is {loss!r}.")
        return LOSSES[loss]
    try:
        inspect.signature(loss).bind(None, None, None)
    except TypeError:
        raise ValueError(
            f"loss must be a function of (positive [B, T], negative [B, T, K], mask [B, T]), "
            f"but {getattr(loss, '__name__', loss)} takes other arguments."
        ) from None
    return Loss(loss)
