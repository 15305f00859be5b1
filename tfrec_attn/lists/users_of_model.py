"""Chooses the users who get lists: users of a run's log, or users of a file."""

from pathlib import Path

from tfrec_attn.errors import ConfigError
from tfrec_attn.lists.file_histories import data_of_servable, file_histories
from tfrec_attn.lists.id_file import read_ids
from tfrec_attn.lists.model_folder import is_run
from tfrec_attn.lists.run_histories import run_histories
from tfrec_attn.lists.user_histories import UserHistories
from tfrec_attn.runs.run_files import load_config


def users_of_model(
    model: str | Path, users: str | Path | None = None, histories: str | Path | None = None
) -> UserHistories:
    """Returns users and their histories.

    Args:
        model: A run or a servable.
        users: File with the ids of users of the run's log. None (default): all users of the log.
        histories: File of histories, as for `file_histories`, instead of the run's log.

    Raises:
        ConfigError: If both files are given, or the model is a servable without a file of
            histories.
        DataError: If a file or the log cannot be used.
    """
    path = Path(model)
    of_run = is_run(path)
    if users is not None and histories is not None:
        raise ConfigError("--users and --histories exclude each other; leave one of them out.")
    if histories is not None:
        data = load_config(path).data if of_run else data_of_servable(path)
        return file_histories(histories, data)
    if not of_run:
        raise ConfigError(
            f"{model} is a servable, which has no histories of users; give --histories FILE, or "
            "the run that it was exported from."
        )
    return run_histories(path, None if users is None else read_ids(users, "--users"))
