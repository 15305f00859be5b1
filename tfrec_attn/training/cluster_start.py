"""The start of a cluster: its processes wait for each other, and compare their settings."""

from tfrec_attn import config as configuration
from tfrec_attn.cli.terminal import write_line
from tfrec_attn.config import Config
from tfrec_attn.data.sequences.splits import Split, split_checksum
from tfrec_attn.runtime.cluster import Task
from tfrec_attn.runtime.process import environment
from tfrec_attn.runtime.rendezvous import meet

# In seconds. The other processes may need longer to read the log.
_TIMEOUT = 600.0
# Settings that can differ between processes: paths, and what concerns one process only.
_OF_A_MACHINE = (
    "data.path",
    "data.source",
    "data.items",
    "data.schema",
    "train.warm_start",
    "train.tracker",
    "runtime.devices",
    "runtime.checkpoint_seconds",
)


def wait_for_others(task: Task, config: Config, split: Split) -> None:
    """Waits for the other processes, and checks that all have the same versions, keys and log.

    Raises:
        ConfigError: If a process differs.
        TrainingError: If a process does not start.
    """
    for note in meet(task, _facts(config, split), _TIMEOUT):
        write_line(note)


def _facts(config: Config, split: Split) -> dict[str, str]:
    found = environment()
    versions = {name: found[name] for name in ("tfrec_attn", "tensorflow", "keras")}
    settings = {
        f"{section}.{key}": str(value)
        for section, keys in configuration.to_dict(config).items()
        if isinstance(keys, dict)
        for key, value in keys.items()
        if f"{section}.{key}" not in _OF_A_MACHINE
    }
    return {**versions, **settings, "log (SHA-256)": split_checksum(split)}
