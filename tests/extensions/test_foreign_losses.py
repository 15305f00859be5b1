"""Losses of other packages, their batches and their errors."""

import pytest

from tests.extensions.foreign_code import refused
from tfrec_attn import config as configuration
from tfrec_attn import losses
from tfrec_attn.config import loss_names
from tfrec_attn.training.inputs import training_stream
from tfrec_attn.training.softmax_precision import softmax_precision

SHAPES = "inputs of the shapes [3, 2], [3, 2, 4], [3, 2]"


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ("shop_losses:gone", "cannot be found: shop_losses has no gone."),
        ("no_such:loss", "names no module: there is no no_such in {folder} or installed."),
        (
            "shop_losses:number",
            "must be a function or a tfrec_attn.losses.Loss, but is a int.",
        ),
        (
            "shop_losses:two",
            "cannot be used: loss must be a function of (positive [B, T], negative [B, T, K], "
            "mask [B, T]), but two takes other arguments.",
        ),
        (
            "shop_losses:positions",
            "takes next_items, but model.name=attrec trains on windows; set another train.loss.",
        ),
        (
            "sampled_softmax",
            "takes next_items and masked_items, but model.name=attrec trains on windows; "
            "set another train.loss.",
        ),
        (
            "shop_losses:mean",
            f"must return the loss of each example, [3] of float32 for {SHAPES}, "
            "but returns [] of float32.",
        ),
        (
            "shop_losses:failing",
            f"fails for {SHAPES}: RuntimeError: it is Monday, {{folder}}/shop_losses.py:16.",
        ),
        (
            "shop_losses:ending",
            f"fails for {SHAPES}: SystemExit: 3, {{folder}}/shop_losses.py:19.",
        ),
        (
            "shop_losses:whole",
            f"must return the loss of each example, [3] of float32 for {SHAPES}, "
            "but returns [3] of int32.",
        ),
        ("shop_losses:level", "must depend on scores or vectors, but has no gradient."),
    ],
)
def test_invalid_losses(loss, sentence, shop):
    assert refused(f"train.loss={loss}") == f"train.loss={loss} {sentence.format(folder=shop)}"


def test_the_loss_is_refused_before_the_log_is_read(shop):
    missing = ["data.source=file", "data.path=missing.csv"]
    for loss in ("sampled_softmax", "shop_losses:positions"):
        assert refused(f"train.loss={loss}", *missing).startswith(
            f"train.loss={loss} takes next_items"
        )
    assert "missing.csv does not exist" in refused("train.loss=bpr", *missing)


def test_a_loss_object_decides_its_negatives(shop, make_leave_one_out):
    split = make_leave_one_out([[1, 2, 3, 4], [2, 3, 4, 5], [5, 4, 3, 2]], 5)
    shapes = {}
    for loss in ("shop_losses:positions", "shop_losses:square"):
        overrides = [
            "model.name=sasrec",
            f"train.loss={loss}",
            "train.negatives=5",
            "train.batch_size=3",
            "data.max_length=2",
        ]
        stream = training_stream(configuration.load(None, overrides), split)
        shapes[loss] = next(iter(stream.dataset()))["negatives"].shape
    # Five for the whole batch, or five for each of its three positions.
    assert shapes == {"shop_losses:positions": [3, 2], "shop_losses:square": [3, 2, 5]}


def test_a_loss_gets_the_precision_of_its_products(shop):
    arguments = ["model.name=sasrec", "train.softmax_precision=bfloat16"]
    for loss, precision in (("narrow", "bfloat16"), ("positions", "float32")):
        name = f"shop_losses:{loss}"
        loss_names.try_out(name)
        config = configuration.load(None, [*arguments, f"train.loss={name}"])
        assert softmax_precision(config)[0] == precision


@pytest.mark.parametrize(
    "change",
    [
        {"of": "score"},
        {"negatives": "some"},
        {"batches": ("window",)},
        {"batches": ()},
        {"keywords": {"a": "b"}},
        {"negatives": "shared"},
        {"of": "positions", "negatives": "shared"},
    ],
)
def test_invalid_loss_objects(change):
    with pytest.raises(ValueError, match=r"^\w+ of a Loss .*must be .*, but is .*\.$"):
        losses.Loss(losses.hinge, **change)
