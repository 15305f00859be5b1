"""Opens the model of the lists, from a run or from a servable."""

from pathlib import Path

from tfrec_attn.lists.model_folder import is_run
from tfrec_attn.lists.model_source import ModelSource
from tfrec_attn.lists.servable_source import ServableSource
from tfrec_attn.lists.source import Source
from tfrec_attn.runtime.runner import Runner


def open_source(path: str | Path) -> Source:
    """Returns the model of a run, or of a servable.

    Raises:
        ConfigError: If the folder is neither, or damaged.
    """
    path = Path(path)
    return ModelSource.of_run(path) if is_run(path) else ServableSource(Runner(path))
