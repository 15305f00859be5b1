"""Names of models, losses and sources, built in or of other packages, and entry points."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extensions.foreign_code import MODEL, install, refused
from tfrec_attn import config as configuration
from tfrec_attn import extensions, losses, models, train
from tfrec_attn.config import loss_names
from tfrec_attn.data.reading import catalog
from tfrec_attn.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_names_of_losses_are_those_of_the_table():
    assert loss_names.names() == list(losses.LOSSES)
    assert loss_names.all_batches() == losses.BATCHES
    for name, loss in losses.LOSSES.items():
        assert loss_names.batches(name) == loss.batches
        assert loss_names.get(name) is loss
        assert not loss_names.is_foreign(name)


def test_trains_on_is_read_from_the_source():
    for name in [*models.names(), "tests.outside.bpr_mf:BPRMF", "tests.outside.cloze:Cloze"]:
        assert models.trains_on(name) == models.get(name).trains_on
        assert models.is_foreign(name) == (":" in name)


def test_short_names():
    assert [extensions.short_name(name) for name in ("attrec", "a.b:C", "b:C")] == [
        "attrec",
        "C",
        "C",
    ]


def test_nothing_is_imported_to_read_a_model(folder):
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "shop" / "models.py").write_text("raise RuntimeError('imported')\n" + MODEL)
    name = "shop.models:Mean"
    assert models.parameters(name) == {"dim": 8}
    assert models.recommended(name) == {"train.learning_rate": 0.1, "data.max_length": 4}
    assert models.trains_on(name) == "windows"
    assert "shop" not in sys.modules
    with pytest.raises(
        ConfigError,
        match=rf"^model\.name=shop\.models:Mean cannot be imported: RuntimeError: imported, "
        rf"{folder}/shop/__init__\.py:1\.$",
    ):
        models.get(name)


def test_without_the_current_folder_on_a_safe_path(shop):
    code = (
        "from tfrec_attn.models import parameters; import sys; "
        "sys.stdout.write(str(parameters('shop_models:Mean')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (0, "{'dim': 8}"), found.stderr
    if sys.version_info >= (3, 11):
        found = subprocess.run(
            [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True
        )
        assert found.stderr.splitlines()[-1].endswith(
            "there is no shop_models on the path, which does not include the current folder "
            "(python -P)."
        )


@pytest.mark.parametrize(
    "name", ["shop..x:Mean", "shop:", ":Mean", "shop:Mean:x", "a b:c", "2001-01-01T10:00"]
)
def test_names_of_another_form(name, folder):
    for key, form in (
        ("model.name", "Class"),
        ("train.loss", "function"),
        ("data.source", "function"),
    ):
        given = re.escape(repr(name))
        sentence = (
            rf"{re.escape(key)} must be one of .*, or package\.module:{form}, but is {given}.*\."
        )
        assert re.fullmatch(sentence, refused(f"{key}={name}"))


def test_installed_packages(shop, capsys):
    install(
        shop,
        models={"shop-mean": "shop_models:Mean"},
        losses={"shop-square": "shop_losses:square"},
        sources={"shop-clicks": "shop_data:clicks"},
    )
    assert "shop-mean" in models.names()
    assert loss_names.names()[-1] == "shop-square"
    with pytest.raises(SystemExit):
        train.main(["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = lines.index("parameters of model.name=shop-mean, explained in its class:")
    assert lines[at + 1] == "model.dim=8"
    assert (
        "of installed packages: shop-square" in lines
        and "of installed packages: shop-clicks" in lines
    )
    config = configuration.load(
        None,
        ["model.name=shop-mean", "train.loss=shop-square", "data.source=shop-clicks"],
        models.recommended,
    )
    assert config.train.learning_rate == 0.1
    assert models.get(config.model.name).__name__ == "Mean"
    assert loss_names.get(config.train.loss).function.__name__ == "square"
    assert catalog.load_configured(config.data).frame.height == 180
    for arguments, sentence in (
        (
            ["model.name=shopmean"],
            r"model\.name must be one of attrec, .*shop-mean, or package\.module:Class, "
            r"but is .* \(did you mean 'shop-mean'\?\)\.",
        ),
        (
            ["train.loss=shop-squares"],
            r"train\.loss must be one of hinge, .*, shop-square, "
            r"or .* \(did you mean 'shop-square'\?\)\.",
        ),
        (
            ["data.source=shop-click"],
            r"data\.source must be one of synthetic, .*, shop-clicks, "
            r"or .* \(did you mean 'shop-clicks'\?\)\.",
        ),
    ):
        assert re.fullmatch(sentence, refused(*arguments))


def test_a_broken_package_does_not_break_the_help(shop, capsys):
    install(shop, models={"shop-gone": "shop_models:Gone", "shop-mean": "shop_models:Mean"})
    with pytest.raises(SystemExit):
        train.main(["--help"])
    out = capsys.readouterr().out
    assert (
        f"model.name=shop-gone must name a class of {shop}/shop_models.py, which defines Mean."
        in out
    )
    assert "parameters of model.name=shop-mean" in out


def test_a_name_in_two_packages(shop):
    install(shop, models={"shop-mean": "shop_models:Mean"})
    (shop / "other").mkdir()
    install(shop / "other", models={"shop-mean": "other:Mean"})
    (shop / "other" / "shop-1.0.dist-info").rename(shop / "other" / "other-1.0.dist-info")
    (shop / "other" / "other-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"
    )
    assert refused("model.name=shop-mean") == (
        "model.name='shop-mean' is an entry point of two packages; "
        "give other:Mean or shop_models:Mean."
    )
