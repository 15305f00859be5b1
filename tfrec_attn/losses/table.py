"""The losses by name, with their batches and arguments."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import tensorflow as tf

from tfrec_attn.losses.binary import bce, gbce
from tfrec_attn.losses.maximal import bpr_max, top1_max
from tfrec_attn.losses.pairwise import bpr, hinge, warp
from tfrec_attn.losses.sampled_softmax import sampled_softmax
from tfrec_attn.losses.softmax import softmax

BATCHES = ("windows", "next_items", "masked_items")
# Values that `SequenceModel.compile` and the model can pass to a loss.
KEYWORDS = (
    "margin",
    "calibration",
    "log_q",
    "num_items",
    "score_penalty",
    "softmax_precision",
)


@dataclass(frozen=True)
class Loss:
    """A loss function, with the batches and arguments that it takes.

    Attributes:
        function: With `of="scores"`: (positive [B, T], negative [B, T, K] or [B, 1, K], mask bool
            [B, T]) -> [B], the loss of each example. With `of="positions"`: (queries [P, D], items
            [R, D], targets [P], negatives, weights [P]) -> scalar, the weighted sum over the
            positions with a target; `targets` and `negatives` are rows of `items`.
        of: "scores" (default) or "positions".
        negatives: "per_target" (default): K for each target, [P, K]. "shared": K for the whole
            batch, [K]. "none": `items` is the whole catalogue, and there are no negatives.
        batches: The kinds of batches that the loss takes. Default: all.
        keywords: Further keyword arguments of `function`: keyword -> name of its value in
            `KEYWORDS`.

    Raises:
        ValueError: If an attribute is not one of its choices.
    """

    function: Callable
    of: str = "scores"
    negatives: str = "per_target"
    batches: tuple[str, ...] = BATCHES
    keywords: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        choices = {"of": ("scores", "positions"), "negatives": ("per_target", "shared", "none")}
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"{name} of a Loss must be one of {', '.join(known)}, but is {value!r}."
                )
        if self.of == "scores" and self.negatives != "per_target":
            raise ValueError(
                f"negatives of a Loss of scores must be per_target, but is {self.negatives!r}."
            )
        if self.negatives == "shared" and "windows" in self.batches:
            raise ValueError(
                "batches of a Loss with shared negatives must be next_items and masked_items, "
                f"but is {self.batches!r}."
            )
        if not self.batches or not set(self.batches) <= set(BATCHES):
            raise ValueError(
                f"batches of a Loss must be some of {', '.join(BATCHES)}, but is {self.batches!r}."
            )
        if not set(self.keywords.values()) <= set(KEYWORDS):
            raise ValueError(
                f"keywords of a Loss must be some of {', '.join(KEYWORDS)}, "
                f"but is {self.keywords!r}."
            )


LOSSES = {
    "hinge": Loss(hinge, keywords={"margin": "margin"}),
    "bpr": Loss(bpr),
    "warp": Loss(warp, keywords={"margin": "margin", "num_items": "num_items"}),
    "bce": Loss(bce, "positions"),
    "gbce": Loss(gbce, "positions", keywords={"num_items": "num_items", "t": "calibration"}),
    "softmax": Loss(softmax, "positions", "none", keywords={"products": "softmax_precision"}),
    "sampled_softmax": Loss(
        sampled_softmax,
        "positions",
        "shared",
        batches=("next_items", "masked_items"),
        keywords={"log_q": "log_q"},
    ),
    "bpr_max": Loss(
        bpr_max,
        "positions",
        "shared",
        batches=("next_items", "masked_items"),
        keywords={"penalty": "score_penalty"},
    ),
    "top1_max": Loss(top1_max, "positions", "shared", batches=("next_items", "masked_items")),
}


def as_loss(loss: "str | Loss | Callable") -> Loss:
    """Returns the `Loss` of a name or of a function of scores; a `Loss` is returned as it is.

    Raises:
        ValueError: If there is no such name, or the function takes other arguments.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, but is {loss!r}.")
        return LOSSES[loss]
    try:
        # Losses of Keras take three arguments too, but these begin with labels and predictions.
        if isinstance(loss, (tf.keras.losses.Loss, type)):
            raise TypeError
        inspect.signature(loss).bind(None, None, None)
    except TypeError:
        raise ValueError(
            f"loss must be a function of (positive [B, T], negative [B, T, K], mask [B, T]), "
            f"but {getattr(loss, '__name__', loss)} takes other arguments."
        ) from None
    return Loss(loss)
