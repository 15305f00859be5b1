"""The inputs of training and evaluation: training batches and held-out events of a split."""

from tfrec_attn import models
from tfrec_attn.config import Config, loss_names
from tfrec_attn.data.batches.held_out import HeldOut
from tfrec_attn.data.batches.masked_items import MaskedItems
from tfrec_attn.data.batches.next_items import NextItems
from tfrec_attn.data.batches.stream import BatchStream
from tfrec_attn.data.batches.streamed_held_out import StreamedHeldOut
from tfrec_attn.data.batches.streamed_training import (
    StreamedMaskedItems,
    StreamedNextItems,
    StreamedWindows,
)
from tfrec_attn.data.batches.windows import Windows, window_counts
from tfrec_attn.data.sequences.splits import Split, item_counts
from tfrec_attn.data.sequences.trained_rows import TrainedRows
from tfrec_attn.data.shards.sharded_split import ShardedSplit
from tfrec_attn.errors import ConfigError, DataError
from tfrec_attn.evaluation.held_out import block_size

# Kind of batches -> its streams from memory and from the shards of a prepared log.
_STREAMS = {
    "windows": (Windows, StreamedWindows),
    "next_items": (NextItems, StreamedNextItems),
    "masked_items": (MaskedItems, StreamedMaskedItems),
}


def training_stream(config: Config, split: Split) -> BatchStream:
    """Returns the training batches for the model of a configuration.

    Raises:
        ConfigError: If there are too few items for the negatives.
        DataError: If no user has two training events.
    """
    data, train = config.data, config.train
    kind, negatives = models.get(config.model.name).trains_on, loss_names.get(train.loss).negatives
    options = {
        "max_length": data.max_length,
        "batch_size": train.batch_size * train.accumulate,
        "seed": train.seed,
    }
    if kind == "windows":
        options |= {
            "targets": data.targets,
            "negatives": train.negatives,
            "shared": train.shared_negatives,
            "window": data.window,
            **_gaps(config, split),
        }
    else:
        options |= {
            "negatives": 0 if negatives == "none" else train.negatives,
            "shared": negatives == "shared",
            "popularity": train.sampling_power if train.sampling == "popularity" else 0.0,
        }
    if kind == "masked_items":
        options |= {"mask_share": data.mask_share, "last_share": data.mask_last}
    in_memory, streamed = _STREAMS[kind]
    try:
        return (streamed if isinstance(split, ShardedSplit) else in_memory)(split, **options)
    except ConfigError as error:
        raise ConfigError(f"train.{error}") from None
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}, or lower data.min_user_events.") from None


def held_out(config: Config, split: Split, part: str) -> HeldOut:
    """Returns the held-out events of "valid" or "test" in blocks that fit into memory.

    A model ignores items without training events. Histories are therefore long enough to contain
    the latest `data.max_length` events of the other items.
    """
    untouched = 0
    if not (item_counts(split) > 0).all():
        # Such items only occur after the training events of a user.
        positions = getattr(split, part)
        untouched = int((positions - split.train_end[split.rows(positions)]).max(initial=0))
    kind = StreamedHeldOut if isinstance(split, ShardedSplit) else HeldOut
    return kind(
        split,
        part,
        max_length=config.data.max_length + untouched,
        batch_size=block_size(split.sequences.num_items, config.evaluate.batch_size),
        repeats=config.evaluate.repeats or "exclude",
        **_gaps(config, split),
    )


def _gaps(config: Config, split: Split) -> dict[str, bool]:
    """Returns the argument that adds times between events to batches, if the model needs them.

    Raises:
        ConfigError: If the events are not in memory.
    """
    key = models.gap_key(config.model.name, config.model.parameters)
    if key is not None and isinstance(split, ShardedSplit):
        raise ConfigError(
            f"{key} needs the times of all events in memory, but data.cache={config.data.cache} "
            "reads the shards; set data.cache=memory."
        )
    return {} if key is None else {"gaps": True}


def trained_rows(config: Config, split: Split) -> TrainedRows:
    """Returns which users and items are in the training examples."""
    data, events = config.data, split.train_end - split.sequences.offsets[:-1]
    kind = models.get(config.model.name).trains_on
    if kind == models.COUNTS:
        users = events >= 1
    elif kind == "windows":
        users = window_counts(events, data.max_length, data.targets, data.window)[0] > 0
    else:
        users = events >= 2
    return TrainedRows(users, item_counts(split) > 0)


def window_note(config: Config, split: Split) -> str | None:
    """Returns a sentence if training windows are longer than any history, or None."""
    data = config.data
    if models.get(config.model.name).trains_on != "windows" or data.window == "all":
        return None
    needed = data.max_length + data.targets
    longest = int((split.train_end - split.sequences.offsets[:-1]).max(initial=0))
    if longest >= needed:
        return None
    return (
        f"A training window is {data.max_length} + {data.targets} events (data.max_length + "
        f"data.targets), but no user has more than {longest}, so each user has one padded window: "
        "lower data.max_length or set data.window=all."
    )
