"""Errors that a user can cause, each one sentence, and the exit code of the command that meets them."""


class TfrecError(Exception):
    """Base of all errors that end a command with one sentence on stderr instead of a traceback."""

    exit_code = 1


class ConfigError(TfrecError):
    """A configuration that cannot be run: an unknown key, a wrong type, values that exclude each other."""

    exit_code = 2


class DataError(TfrecError):
    """A log that cannot be read, or that leaves nothing to train or to test on."""

    exit_code = 2


class TrainingError(TfrecError):
    """A training that cannot go on, for example because the loss is not finite."""
