"""Files that describe an ablation: a configuration, and the keys that vary."""

from pathlib import Path
from typing import Any, NamedTuple

from tfrec_attn.config.config_files import read_config_file
from tfrec_attn.config.loading import STUDY
from tfrec_attn.errors import ConfigError, shown


class Study(NamedTuple):
    """The ablation that a file describes.

    Attributes:
        config: A YAML file, or the name of a configuration of the package.
        vary: `section.key=value,value,...` texts.
    """

    config: str
    vary: list[str]


def read_study(source: str | None) -> Study | None:
    """Returns the ablation that a file describes, or None for a configuration.

    Such a file has only the section `study`, with two keys. `config` is a file in the same folder
    or a name of the package. `vary` has the values of each key as a text, such as
    `model.alpha: "0,0.5,1"`.

    Args:
        source: A YAML file, or a name of the package, such as `studies/attrec-dim`; None for the
            defaults.

    Raises:
        ConfigError: If there is no such file, or if its section `study` has another form.
    """
    tree = {} if source is None else read_config_file(source)
    if STUDY not in tree:
        return None
    study = tree[STUDY]
    if len(tree) > 1 or not _is_study(study):
        raise ConfigError(
            f"{source} must have only the section study, with config: NAME and vary: a key with "
            f"its values as a text, such as model.alpha: '0,0.5,1', but has {shown(tree)}."
        )
    beside = Path(source).parent / study["config"]
    config = str(beside) if Path(source).is_file() and beside.is_file() else study["config"]
    vary = [f"{key}={values}" for key, values in study["vary"].items()]
    return Study(str(config), vary)


def _is_study(study: Any) -> bool:
    if not isinstance(study, dict) or set(study) != {"config", "vary"}:
        return False
    config, vary = study["config"], study["vary"]
    return (
        isinstance(config, str)
        and isinstance(vary, dict)
        and bool(vary)
        and all(isinstance(values, str) for values in vary.values())
    )
