"""The keys of a configuration as frozen dataclasses: type, default and line of help of each."""

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints


def key(default: Any, text: str) -> Any:
    """Returns the dataclass field of a key.

    Args:
        default: Default of the key. A list or dictionary is copied.
        text: The line that `--help` prints for the key.
    """
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Columns:
    """Section `data.columns`."""

    user: str = key("user_id", "column of the user id")
    item: str = key("item_id", "column of the item id")
    timestamp: str | None = key("timestamp", "column of the time; null: lines are in order of time")
    rating: str | None = key(None, "column of the rating, for data.min_rating")
    event: str | None = key(
        None, "column of the event type, for data.event_types and data.event_weights"
    )


@dataclass(frozen=True)
class Data:
    """Section `data`."""

    source: str = key(
        "synthetic",
        "synthetic, movielens-100k, movielens-100k-attrec (in the order of AttRec's authors), "
        "movielens-1m, file (then give data.path), a folder of tfrec_attn.data.prepare, or "
        "module:function",
    )
    path: str | None = key(
        None,
        "log: file, folder of parts or pattern; .csv .tsv .txt (also .gz .zst), .parquet, "
        "RecBole .inter, MovieLens .dat",
    )
    format: str | None = key(
        None, "format of data.path if its extension is another: csv, tsv, inter, dat, data, parquet"
    )
    names: list[str] | None = key(None, "names of the columns of a file without a header line")
    separator: str | None = key(
        None,
        "separator of the fields if it is not that of the format: comma, semicolon, pipe, tab, "
        "space, or a character",
    )
    columns: Columns = field(default_factory=Columns)
    items: str | None = key(
        None,
        "table of the items, .csv .tsv or .parquet: a column of ids, named id or as "
        "data.columns.item, and columns such as title and category",
    )
    on_error: str = key(
        "raise", "a bad line: raise (stop and name it) or skip (count it, write it to rejected.tsv)"
    )
    events: int = key(60_000, "size of the synthetic log")
    seed: int = key(2024, "seed of the synthetic log")
    min_rating: float | None = key(None, "drop events with a lower rating")
    event_types: list[str] | None = key(None, "drop events of other types than these")
    event_weights: dict[str, float] | None = key(
        None, "weight in the loss of targets by event type; 0 drops the events of a type"
    )
    ids: str = key(
        "keep",
        "ids that are written in several ways, such as 7 and 7.0: keep, or unify (docs/data.md)",
    )
    missing_ids: str = key(
        "keep", "events whose user or item is nan, None, NULL or the like: keep or drop"
    )
    duplicates: str = key(
        "keep",
        "exact copies of an event (same user, item and time): keep, or drop all but the first",
    )
    session_gap: float | None = key(
        None, "a pause longer than this, in the unit of the times, starts a new sequence USER#N"
    )
    repeats: str = key(
        "keep", "the same item twice in a row: keep, or collapse into its first event"
    )
    schema: str | None = key(
        None, "schema.pbtxt of tfrec_attn.data.validate: training refuses a log that breaks it"
    )
    min_user_events: int = key(
        5, "drop users with fewer events (repeated with min_item_events until stable)"
    )
    min_item_events: int = key(1, "drop items with fewer events")
    split: str = key(
        "leave-one-out", "leave-one-out (last event tests, the one before validates) or temporal"
    )
    valid_from: float | str | None = key(
        None, "temporal split: validation starts at this quantile of time, or ISO date"
    )
    test_from: float | str | None = key(
        None, "temporal split: test starts at this quantile of time, or ISO date"
    )
    cache: str = key(
        "auto",
        "how a prepared folder is read: memory (hold all events), stream (read the shards in every "
        "epoch) or auto (by size)",
    )
    max_length: int = key(5, "L, latest events of the history that the model sees")
    targets: int = key(3, "T, next events that are the positives of one training window")
    mask_share: float = key(0.2, "models trained on masked items: share of masked items")
    mask_last: float = key(
        0.1, "models trained on masked items: share of examples with only the last item masked"
    )
    window: str = key(
        "full", "first training window: full (after max_length events) or all (at the first event)"
    )


@dataclass(frozen=True)
class Model:
    """Section `model`; in a file, the parameters of the model are further keys."""

    name: str = key(
        "attrec", "file name in tfrec_attn/models, or module:Class (docs/adding-a-model.md)"
    )
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Distillation:
    """Section `train.distillation`: item transitions are distilled into item vectors."""

    weight: float = key(
        0.0,
        "lambda, weight of the distillation loss; for smoothing, weight of a transition relative "
        "to the item itself; 0: no distillation",
    )
    loss: str = key(
        "cross_entropy",
        "cross_entropy (TED), squared_distance between an item and those that follow it (GraReg), "
        "or smoothing of the item vectors along the graph of transitions (GES), without a loss",
    )
    layers: int = key(1, "for smoothing: how many times the graph is applied")
    temperature: float = key(0.1, "for cross_entropy: tau, temperature of teacher and student")
    time_span: int = key(1, "steps within which an item counts as following another")
    latest: bool = key(False, "count only each user's latest data.max_length events")
    dropout: float = key(0.0, "for cross_entropy: dropout on the student's item vectors")


@dataclass(frozen=True)
class Train:
    """Section `train`."""

    epochs: int = key(30, "maximum number of passes over the training examples")
    batch_size: int = key(512, "training windows or sequences in a batch")
    accumulate: int = key(
        1, "batches in a step, whose gradients are summed: accumulate x batch_size examples"
    )
    optimizer: str = key(
        "adagrad", "lazy_adam (sparse), or any Keras optimizer by name: adagrad, adam, sgd, ..."
    )
    learning_rate: float = key(0.05, "step size")
    schedule: str = key(
        "constant",
        "learning rate after the warm-up: constant, linear, cosine or inverse_sqrt",
    )
    warmup_steps: int = key(0, "steps in which the learning rate rises from 0")
    final_learning_rate: float = key(0.0, "learning rate at the last step of linear and cosine")
    clip_norm: float | None = key(None, "clip the global norm of the gradients; null: never")
    optimizer_options: dict[str, Any] = key({}, "further keywords of the optimizer")
    ema: float | None = key(
        None,
        "decay at each step, such as 0.995, of a moving average of the weights; the average is "
        "validated and saved instead of the weights; null: no average",
    )
    loss: str = key(
        "hinge",
        "hinge, bpr, warp, bce, gbce or softmax; sampled_softmax, bpr_max or top1_max, but not for "
        "windows; or module:function",
    )
    softmax_precision: str = key(
        "float32",
        "precision of the matrix products of softmax and distillation: float32, bfloat16, or auto "
        "(bfloat16 if the device multiplies it natively)",
    )
    margin: float = key(0.5, "margin of hinge and warp")
    reduction: str = key("sum", "sum (the loss of a step is the sum over its windows) or mean")
    negatives: int = key(
        5,
        "negatives per positive, drawn from the items without a training event of the user; "
        "sampled_softmax, bpr_max and top1_max: negatives per step",
    )
    sampling: str = key("uniform", "distribution of negatives per step: uniform or popularity")
    sampling_power: float = key(
        1.0, "alpha; popularity draws an item in proportion to the alpha-th power of its events"
    )
    calibration: float = key(0.75, "t of gbce in 0..1; 0 is bce")
    score_penalty: float = key(1.0, "weight of the negatives' squared scores in bpr_max")
    shared_negatives: bool = key(False, "compare all positives of a window with the same negatives")
    l2: float = key(0.0, "l2 * |row|^2 / 2 on the table rows that a step updates")
    kernel_l2: float = key(0.0, "the same penalty on all other weights")
    distillation: Distillation = field(default_factory=Distillation)
    patience: int = key(
        5,
        "epochs without a better validation metric before training stops; with ema, at least "
        "1 / (1 - ema) steps",
    )
    seed: int = key(1, "seed of initial weights, data order and negatives")
    warm_start: str | None = key(
        None, "finished run of the same model whose weights are the initial ones; null: random"
    )
    tracker: str | None = key(
        None, "also send the metrics of each epoch to mlflow or wandb (extra trackers)"
    )
    new_items: str = key(
        "mean", "warm start, vectors of new items: mean (of known items) or neighbours"
    )


@dataclass(frozen=True)
class Prior:
    """Section `prior`: item transitions are added to the scores of a trained model."""

    weight: Literal["auto"] | float | list[float] = key(
        0.0,
        "weight w of the term w ln(epsilon + share of the transitions) in the scores; 0: no prior; "
        "a list, or auto (0, 0.1, 0.2, 0.5, 1, 2): the weight with the best validation NDCG@10",
    )
    epsilon: float | list[float] = key(
        [1e-4, 3e-4, 1e-3], "epsilon in the term of weight; a list: the best is chosen with weight"
    )
    span: int = key(50, "steps within which an item counts as following another")
    decay: float = key(0.5, "exponent of the steps: a pair d steps apart counts d^-decay")
    backward: float = key(0.0, "weight of pairs in the opposite order")
    popularity_power: float = key(
        0.25, "an item's counts are divided by its number of training events to this power"
    )
    neighbours: int = key(200, "number of items kept for each item, those with the highest counts")


@dataclass(frozen=True)
class Evaluate:
    """Section `evaluate`."""

    k: list[int] = key([5, 10, 20], "cut-offs of HR@k and NDCG@k")
    metric: str = key("MRR", "validation metric that picks the epoch, such as MRR or NDCG@10")
    batch_size: int = key(256, "maximum number of users ranked at once; fewer for many items")
    repeats: str | None = key(
        None,
        "items of the history: exclude (never recommended, so a target among them is a miss) or "
        "include (all items compete); null: include if more than 5 % of the validation targets "
        "are in the history",
    )
    targets: str | None = key(
        None,
        "temporal split: which events of a user after each limit are targets: first, last or all; "
        "null: first",
    )
    bootstrap: int = key(1000, "resamples of the users for the 95 % interval; 0: no interval")


@dataclass(frozen=True)
class Runtime:
    """Section `runtime`."""

    strategy: str = key(
        "default",
        "default (one device), mirrored (several) or multi_worker (processes of TF_CONFIG)",
    )
    devices: list[str] | None = key(
        None, "devices of mirrored, such as [GPU:0, GPU:1] or [CPU:0, CPU:1]; null: all GPUs"
    )
    precision: str = key("float32", "float32, mixed_bfloat16 or mixed_float16")
    steps_per_execution: int = key(
        16, "training steps per call into TensorFlow; always 1 with several replicas"
    )
    deterministic: bool = key(
        False, "bitwise reproducible on a GPU too, which is slower; a CPU always is"
    )
    checkpoint_seconds: float = key(
        300.0, "seconds between checkpoints within an epoch; 0: only at the ends of epochs"
    )


@dataclass(frozen=True)
class Config:
    """A whole configuration."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    prior: Prior = field(default_factory=Prior)
    evaluate: Evaluate = field(default_factory=Evaluate)
    runtime: Runtime = field(default_factory=Runtime)
    run_dir: str | None = key(None, "where the run is written; default runs/<source>-<model>")


def has_prior(config: Config) -> bool:
    """Whether item transitions are added to the scores."""
    return config.prior.weight != 0


def documented(cls: type = Config, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yields each key of a section with its default and its line of help."""
    hints = get_type_hints(cls)
    for entry in dataclasses.fields(cls):
        name = f"{prefix}{entry.name}"
        if dataclasses.is_dataclass(hints[entry.name]):
            yield from documented(hints[entry.name], f"{name}.")
        elif entry.metadata:
            missing = entry.default is dataclasses.MISSING
            default = entry.default_factory() if missing else entry.default
            yield name, default, entry.metadata["help"]
