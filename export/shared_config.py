"""The configuration of a run as it may be given to others."""

from pathlib import PureWindowsPath

# Names and kinds of columns and events, which may have a slash.
_NO_PATHS = ("columns", "names", "event_types", "event_weights")


def without_paths(value):
    """A configuration in which every path is only its last part, so that it says nothing about the
    machine.

    Args:
      value: nested dictionaries and lists as from `tfrec_attn.config.to_dict`.

    Returns:
      A copy; every text with a slash or backslash counts as a path.
    """
    if isinstance(value, dict):
        return {key: one if key in _NO_PATHS else without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    # That of Windows knows both slashes.
    return (
        PureWindowsPath(value).name
        if isinstance(value, str) and ("/" in value or "\\" in value)
        else value
    )
