"""Checks of the settings of a training: inconsistent settings, and settings without an effect."""

import functools
import importlib.util

from tfrec_attn import config as configuration
from tfrec_attn import models
from tfrec_attn.config import Config, has_prior, loss_names
from tfrec_attn.errors import ConfigError
from tfrec_attn.runtime.process import import_tensorflow


def check_loss(config: Config) -> None:
    """Checks, before the log is read, that the loss takes the batches of the model.

    Raises:
        ConfigError: If it does not, or if a model or loss of another package cannot be imported.
    """
    model, loss = config.model.name, config.train.loss
    counts = models.trains_on(model) == models.COUNTS
    if counts and config.train.warm_start is not None and not models.joins_runs(model):
        raise ConfigError(
            f"train.warm_start continues a training, but model.name={model} only counts the events "
            "of the log; leave it out."
        )
    if models.is_foreign(model) or (loss_names.is_foreign(loss) and not counts):
        import_tensorflow()
    if models.is_foreign(model):
        models.get(model)
    _check_prior(config)
    if counts:
        return
    given, taken = models.trains_on(model), loss_names.batches(loss)
    if given not in taken:
        raise ConfigError(
            f"train.loss={loss} takes {' and '.join(taken)}, but model.name={model} trains on "
            f"{given}; set another train.loss."
        )


def _check_prior(config: Config) -> None:
    """Checks, before the log is read, that a model can have the prior of section `prior`."""
    name = config.model.name
    if not has_prior(config):
        return
    foreign = models.is_foreign(name)
    if models.has_own_prior(name) if foreign else models.trains_on(name) == models.COUNTS:
        raise ConfigError(
            f"prior.weight adds item transitions to the scores, but model.name={name} already has "
            "counts or a prior of its own; leave it out."
        )


def check_tracker(config: Config) -> None:
    """Checks, before the log is read, that the library of `train.tracker` is installed.

    Raises:
        ConfigError: If it is not.
    """
    name = config.train.tracker
    if name is not None and importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"train.tracker={name} needs the package {name}; install the extra trackers, or leave "
            "it out."
        )


def check_events(config: Config, session_gap: float | None, timestamp: str | None) -> None:
    """Checks that the log has the users or the times that the model needs.

    Args:
        config: The configuration.
        session_gap: `data.session_gap`, or the session gap of the prepared folder.
        timestamp: `data.columns.timestamp`, or the column of the prepared folder.

    Raises:
        ConfigError: If users or times are missing.
    """
    key = models.gap_key(config.model.name, config.model.parameters)
    if key is not None and timestamp is None:
        raise ConfigError(f"{key} needs times, but data.columns.timestamp is null; set {key}=null.")
    if session_gap is not None and not models.uses_history(config.model.name):
        raise ConfigError(
            f"model.name={config.model.name} scores by the user alone, but with "
            f"data.session_gap={session_gap} each session is a user of its own; set "
            "data.session_gap=null, or a model that reads the history."
        )


def settings_without_effect(config: Config) -> list[str]:
    """Returns a line for each setting that differs from its default but has no effect."""
    model, loss = config.model.name, config.train.loss
    batches = models.trains_on(model)
    of_batches = {
        "windows": ("data.targets", "data.window", "train.shared_negatives"),
        "masked_items": ("data.mask_share", "data.mask_last"),
    }
    of_loss = {
        "train.margin": ("hinge", "warp"),
        "train.calibration": ("gbce",),
        "train.sampling": ("sampled_softmax", "bpr_max", "top1_max"),
        "train.score_penalty": ("bpr_max",),
    }
    unused = {
        key: f"{model} trains on {batches}"
        for kind, keys in of_batches.items()
        for key in keys
        if kind != batches
    }
    if not loss_names.is_foreign(loss):
        unused |= {
            key: f"train.loss is {loss}" for key, names in of_loss.items() if loss not in names
        }
    if config.train.sampling == "uniform":
        unused["train.sampling_power"] = "train.sampling is uniform"
    distillation = config.train.distillation.loss
    unused |= {
        f"train.distillation.{key}": f"train.distillation.loss is {distillation}"
        for key, used_by in (
            ("temperature", "cross_entropy"),
            ("dropout", "cross_entropy"),
            ("layers", "smoothing"),
        )
        if used_by != distillation
    }
    distills = config.train.distillation.weight > 0 and distillation == "cross_entropy"
    if loss == "softmax":
        unused["train.negatives"] = "train.loss is softmax, over the whole catalogue"
    elif not distills and not loss_names.is_foreign(loss):
        unused["train.softmax_precision"] = (
            f"train.loss is {loss}, without distillation by cross_entropy"
        )
    keys = {key: default for key, default, _ in configuration.documented()}
    if not config.train.distillation.weight:
        of_distillation = (key for key in keys if key.startswith("train.distillation."))
        unused |= dict.fromkeys(of_distillation, "train.distillation.weight is 0")
    if batches == models.COUNTS:
        used = ("train.seed", "train.warm_start")
        of_training = (key for key in keys if key.startswith("train.") and key not in used)
        unused |= dict.fromkeys(of_training, f"{model} is not trained, it counts")
    if not has_prior(config):
        unused |= {key: "prior.weight is 0" for key in keys if key.startswith("prior.")}
    return [
        f"{key} has no effect: {unused[key]}."
        for key, default in keys.items()
        if key in unused and functools.reduce(getattr, key.split("."), config) != default
    ]
