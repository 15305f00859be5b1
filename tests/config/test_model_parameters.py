"""Parameters of a model in its section of the configuration."""

import pytest

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import load
from tfrec_attn.errors import ConfigError

PARAMETERS = {
    "dim": 100,
    "user_weight": 0.2,
    "tied": True,
    "diagonal": "after",
    "max_norm": 1.0,
    "window": None,
    "sizes": [3, 4],
}


def resolved(*overrides):
    return configuration.with_model_parameters(load(None, overrides), PARAMETERS).model.parameters


def test_parameters_of_the_model_are_beside_its_name():
    tree = configuration.to_dict(load(None, ["model.dim=12"]))
    assert tree["model"] == {"name": "attrec", "dim": 12}


def test_model_parameters_are_filled_in():
    assert resolved("model.dim=8") == {**PARAMETERS, "dim": 8}
    assert list(resolved()) == list(PARAMETERS)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.dim=8.0", 8),
        ("model.user_weight=1", 1.0),
        ("model.user_weight=1e-3", 0.001),
        ("model.tied=false", False),
        ("model.max_norm=null", None),
        ("model.window=1e-3", 0.001),
        ("model.window=last", "last"),
        ("model.sizes=[1, 2]", [1, 2]),
    ],
)
def test_model_parameters_take_the_type_of_their_default(override, expected):
    value = resolved(override)[override.partition("=")[0].removeprefix("model.")]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.dims=8", "Unknown configuration key model.dims; did you mean model.dim?"),
        (
            "model.qqq=8",
            "Unknown configuration key model.qqq; valid are model.dim, model.user_weight, "
            "model.tied, model.diagonal, model.max_norm, "
            "model.window, model.sizes, model.name.",
        ),
        ("model.dim=wide", "model.dim must be a whole number or null, but is text ('wide')."),
        ("model.dim=8.5", "model.dim must be a whole number or null, but is a number (8.5)."),
        ("model.tied=1", "model.tied must be true or false or null, but is a whole number (1)."),
        ("model.diagonal=3", "model.diagonal must be text or null, but is a whole number (3)."),
    ],
)
def test_model_parameters_that_the_model_does_not_take(override, sentence):
    with pytest.raises(ConfigError) as caught:
        resolved(override)
    assert str(caught.value) == sentence


def test_types_of_parameters_come_from_the_constructor():
    # AttRec's max_norm is annotated, because its default is not None.
    hints = models.hints("attrec")
    assert hints.keys() == models.parameters("attrec").keys()
    assert (hints["dim"], hints["tied"], hints["user_weight"], hints["diagonal"]) == (
        int,
        bool,
        float,
        str,
    )
    assert hints["max_norm"] == float | None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.max_norm=null", None),
        ("model.max_norm=2", 2.0),
        ("model.dim=010", 10),
        ("model.dim=null", "model.dim must be a whole number, but is null."),
        ("model.dim=1_000", "model.dim must be a whole number, but is text ('1_000')."),
        ("model.tied=yes", "model.tied must be true or false, but is text ('yes')."),
    ],
)
def test_parameters_have_these_types(override, expected):
    config = load(None, [override])
    try:
        complete = configuration.with_model_parameters(
            config, models.parameters("attrec"), models.hints("attrec")
        )
        found = complete.model.parameters[override.partition("=")[0].removeprefix("model.")]
    except ConfigError as error:
        found = str(error)
    assert (found, type(found)) == (expected, type(expected))
