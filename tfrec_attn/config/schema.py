"""Configuration: defaults in frozen dataclasses, overlaid by a YAML file, overlaid by
`section.key=value` arguments.

Strict on purpose: an unknown key or a value of the wrong type is a `ConfigError` that names the
key, what was expected and what came. A value is read by the type of its key, in a file as in an
argument: for a key that holds text, `010`, `yes` and `a #1: b` are text.
"""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from tfrec_attn.config.checks import check
from tfrec_attn.config.coercion import coerce, flow, kind, usable_path
from tfrec_attn.config.config_files import read_config_file
from tfrec_attn.config.yaml_tree import Plain, is_null, write_yaml
from tfrec_attn.errors import ConfigError, nearest_of, shorten, shown

# Their values may begin with `~`, the user's folder.
_PATHS = ("run_dir", "data.source", "data.path", "data.schema", "train.warm_start")

# Keys that are gone: the value with which nothing changes, as most earlier runs have it, and why
# they are gone.
_REMOVED = {"runtime.jit": (False, "no model trained faster with it")}


def describe(text: str, **kwargs):
    """A dataclass field that carries the line `--help` prints for it."""
    return field(metadata={"help": text}, **kwargs)


@dataclass(frozen=True)
class Columns:
    user: str = describe("column of the user id", default="user_id")
    item: str = describe("column of the item id", default="item_id")
    timestamp: str | None = describe(
        "column of the time; null: lines are in order of time", default="timestamp"
    )
    rating: str | None = describe("column of the rating, for data.min_rating", default=None)
    event: str | None = describe(
        "column of the event type, for data.event_types and data.event_weights", default=None
    )


@dataclass(frozen=True)
class Data:
    source: str = describe(
        "synthetic, movielens-100k, movielens-1m, file (then give data.path), a folder of tfrec_attn.data.prepare, or module:function",
        default="synthetic",
    )
    path: str | None = describe(
        "log: file, folder of parts or pattern; .csv .tsv .txt (also .gz .zst), .parquet, RecBole .inter, MovieLens .dat",
        default=None,
    )
    format: str | None = describe(
        "format of data.path where its name does not tell: csv, tsv, inter, dat, data, parquet",
        default=None,
    )
    names: list[str] | None = describe(
        "names of the columns of a file without a header line", default=None
    )
    separator: str | None = describe(
        "separator of the fields where not that of the format: comma, semicolon, pipe, tab, space, or the character",
        default=None,
    )
    columns: Columns = field(default_factory=Columns)
    on_error: str = describe(
        "a bad line: raise (stop and name it) or skip (count it, write it to rejected.tsv)",
        default="raise",
    )
    events: int = describe("size of the synthetic log", default=60_000)
    seed: int = describe("seed of the synthetic log", default=2024)
    min_rating: float | None = describe("drop events with a lower rating", default=None)
    event_types: list[str] | None = describe("drop events of other types than these", default=None)
    event_weights: dict[str, float] | None = describe(
        "by event type, how much its events count as targets; 0 drops them", default=None
    )
    ids: str = describe(
        "ids that differ only in writing, as 7 and 7.0: keep, or unify (docs/data.md tells how)",
        default="keep",
    )
    missing_ids: str = describe(
        "events whose user or item is nan, None, NULL or the like: keep or drop", default="keep"
    )
    duplicates: str = describe(
        "exact copies of an event (same user, item and time): keep, or drop all but the first",
        default="keep",
    )
    session_gap: float | None = describe(
        "a pause longer than this, in the unit of the times, starts a new sequence USER#N",
        default=None,
    )
    repeats: str = describe(
        "the same item twice in a row: keep, or collapse into its first event", default="keep"
    )
    schema: str | None = describe(
        "schema.pbtxt of tfrec_attn.data.validate: training refuses a log that breaks it",
        default=None,
    )
    min_user_events: int = describe(
        "drop users with fewer events (repeated with the next until stable)", default=5
    )
    min_item_events: int = describe("drop items with fewer events", default=1)
    split: str = describe(
        "leave-one-out (last event tests, the one before validates) or temporal",
        default="leave-one-out",
    )
    valid_from: float | str | None = describe(
        "temporal split: validation starts at this quantile of time, or ISO date", default=None
    )
    test_from: float | str | None = describe(
        "temporal split: test starts at this quantile of time, or ISO date", default=None
    )
    cache: str = describe(
        "a prepared folder: memory (hold all events), stream (read the shards in every epoch) or auto (by size)",
        default="auto",
    )
    max_length: int = describe("L, latest events of the history that the model sees", default=5)
    targets: int = describe("T, next events that are positives of one training window", default=3)
    mask_share: float = describe(
        "of models that train on masked items: share of the items that are masked", default=0.2
    )
    mask_last: float = describe(
        "of the same: share of the examples with only the latest item masked", default=0.1
    )
    window: str = describe(
        "where training windows begin: full (after max_length events) or all (at the first event)",
        default="full",
    )


@dataclass(frozen=True)
class Model:
    name: str = describe(
        "file name of the model in tfrec_attn/models, or module:Class (docs/adding-a-model.md)",
        default="attrec",
    )
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Distillation:
    weight: float = describe(
        "lambda, weight of the distillation of item transitions into item vectors; 0: none",
        default=0.0,
    )
    temperature: float = describe("tau, of teacher and student", default=0.1)
    time_span: int = describe("steps within which an item counts as following another", default=1)
    latest: bool = describe(
        "count in each user's latest data.max_length events alone", default=False
    )
    dropout: float = describe("dropout on the student's item vectors", default=0.0)


@dataclass(frozen=True)
class Train:
    epochs: int = describe("most passes over the training windows", default=30)
    batch_size: int = describe("windows, or users of a causal model, at a time", default=512)
    accumulate: int = describe(
        "batches whose gradients are added up before they are applied: a step is accumulate x batch_size",
        default=1,
    )
    optimizer: str = describe(
        "lazy_adam (sparse), or any Keras optimizer by name: adagrad, adam, sgd, ...",
        default="adagrad",
    )
    learning_rate: float = describe("step size", default=0.05)
    schedule: str = describe(
        "of the learning rate after the warm-up: constant, linear, cosine or inverse_sqrt",
        default="constant",
    )
    warmup_steps: int = describe("steps in which the learning rate rises from 0", default=0)
    final_learning_rate: float = describe(
        "of linear and cosine, at the last step of the last epoch", default=0.0
    )
    clip_norm: float | None = describe(
        "scale the gradients of a step down to this norm, all together; null: never", default=None
    )
    optimizer_options: dict[str, Any] = describe(
        "further keywords of the optimizer", default_factory=dict
    )
    loss: str = describe(
        "hinge or bpr over windows; causal models: softmax, sampled_softmax, bce or gbce at every position; or module:function",
        default="hinge",
    )
    margin: float = describe("margin of the hinge loss", default=0.5)
    reduction: str = describe(
        "sum (a step's loss is the sum over its windows) or mean", default="sum"
    )
    negatives: int = describe(
        "items per positive that the user has not touched in training; sampled_softmax: a step's in all",
        default=5,
    )
    sampling: str = describe(
        "how sampled_softmax draws them: uniform or popularity", default="uniform"
    )
    calibration: float = describe("t of gbce in 0..1; 0 is bce", default=0.75)
    shared_negatives: bool = describe(
        "compare every positive of a window with the same negatives", default=False
    )
    l2: float = describe("l2 * |row|^2 / 2 on the table rows that a step touches", default=0.0)
    kernel_l2: float = describe("the same on all other weights", default=0.0)
    distillation: Distillation = field(default_factory=Distillation)
    patience: int = describe(
        "epochs without a better validation metric before training stops", default=5
    )
    seed: int = describe("seed of initial weights, data order and negatives", default=1)
    warm_start: str | None = describe(
        "finished run of the same model to go on from; null: from nothing", default=None
    )
    new_items: str = describe(
        "where rows of items begin that the run did not know: mean (of its items) or neighbours",
        default="mean",
    )


@dataclass(frozen=True)
class Evaluate:
    k: list[int] = describe("cut-offs of HR@k and NDCG@k", default_factory=lambda: [5, 10, 20])
    metric: str = describe(
        "validation metric that picks the epoch, such as MRR or NDCG@10", default="MRR"
    )
    batch_size: int = describe("users a block at most; large catalogues take fewer", default=256)
    repeats: str | None = describe(
        "items of the history: exclude (never recommended, so that a target among them is a miss) or include (all items compete); "
        "null: include where more than 5 % of the validation targets are in the history",
        default=None,
    )
    bootstrap: int = describe(
        "resamples of the users for the 95 % interval; 0: no interval", default=1000
    )


@dataclass(frozen=True)
class Runtime:
    strategy: str = describe(
        "default (one device), mirrored (several) or multi_worker (several processes, by TF_CONFIG)",
        default="default",
    )
    devices: list[str] | None = describe(
        "of mirrored, such as [GPU:0, GPU:1] or [CPU:0, CPU:1]; default all GPUs", default=None
    )
    precision: str = describe("float32, mixed_bfloat16 or mixed_float16", default="float32")
    steps_per_execution: int = describe(
        "training steps a call into TensorFlow; with several replicas always 1", default=16
    )
    deterministic: bool = describe(
        "the same bits again also on a GPU, where it is slower; a CPU gives them anyway",
        default=False,
    )
    checkpoint_seconds: float = describe(
        "between checkpoints within an epoch; 0: only at the ends of epochs", default=300.0
    )


@dataclass(frozen=True)
class Config:
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    runtime: Runtime = field(default_factory=Runtime)
    run_dir: str | None = describe(
        "where the run is written; default runs/<source>-<model>", default=None
    )


def load(
    path: str | Path | None = None,
    overrides: typing.Iterable[str] = (),
    recommended: Callable[[str], dict[str, Any]] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Config:
    """Reads a configuration: defaults, beneath a model's recommended settings, a file and
    arguments.

    Args:
        path: YAML file; where there is none, the name of a configuration of the package, with or
            without .yaml; None for the defaults.
        overrides: `section.key=value` texts; lists are `a,b` or `[a, b]`, sections `{a: 1}`, None
            is `null` or nothing.
        recommended: Model's name -> its recommended settings by key; None: there are none.
        say: Takes a line on which settings come from where.

    Raises:
        ConfigError: If there is no such file, or if it is not YAML; for an unknown key (the nearest
            one is named) and a value of another type.
    """
    tree = read_config_file(path) if path is not None else {}
    origins = {f"in {path}": _count(tree)} if path is not None else {}
    overrides = list(overrides)
    for text in overrides:
        _set(tree, *_parse_override(text))
    origins["by argument"] = len(overrides)
    if recommended is not None:
        section = tree.get("model")
        name = section.get("name", Model.name) if isinstance(section, dict) else Model.name
        settings = recommended(coerce("model.name", name, str))
        taken = [
            f"{key}={value}"
            for key, value in settings.items()
            if _set_beneath(tree, key.split("."), value)
        ]
        set_by = ", ".join(
            f"{count} settings {origin}" for origin, count in origins.items() if count
        )
        if taken:
            say(
                f"Recommended for {name}: {' '.join(taken)}{f' ({set_by} go before)' if set_by else ''}."
            )
    return from_dict(tree)


def _count(tree: Any) -> int:
    return sum(map(_count, tree.values())) if isinstance(tree, dict) else 1


def _set_beneath(tree: dict[str, Any], keys: list[str], value: Any) -> bool:
    """Whether a key was not set and now is."""
    for key in keys[:-1]:
        if is_null(tree.get(key)):
            tree[key] = {}
        tree = tree[key]
        if not isinstance(tree, dict):
            return False
    if keys[-1] in tree:
        return False
    tree[keys[-1]] = value
    return True


def from_dict(tree: dict[str, Any]) -> Config:
    """Config from nested dictionaries, checked."""
    config = _build(Config, tree, "")
    check(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Nested dictionaries that `from_dict` reads back; the model's parameters stand beside its
    name.
    """
    tree = dataclasses.asdict(config)
    tree["model"] = {"name": config.model.name, **config.model.parameters}
    return tree


def to_yaml(config: Config) -> str:
    """A YAML text that `load` turns into the same configuration."""
    return write_yaml(to_dict(config))


def with_model_parameters(
    config: Config, defaults: dict[str, Any], hints: dict[str, Any] | None = None
) -> Config:
    """Checks `model.*` against a constructor's keywords, and fills in what is not given.

    Args:
      config: of which only the model counts.
      defaults: keyword -> its default.
      hints: keyword -> its type; without one it is that of the default, or None.

    Raises:
        ConfigError: For an unknown keyword, or a value of another type.
    """
    merged = dict(defaults)
    for key, value in config.model.parameters.items():
        if key not in defaults:
            raise ConfigError(_unknown(f"model.{key}", key, [*defaults, "name"], "model."))
        hint = hints[key] if hints else _hint_of(defaults[key])
        merged[key] = coerce(f"model.{key}", value, hint)
    return dataclasses.replace(config, model=Model(config.model.name, merged))


def _hint_of(default: Any) -> Any:
    if default is None:
        return Any
    return (type(default)[Any] if isinstance(default, (list, dict)) else type(default)) | None


def documented() -> typing.Iterator[tuple[str, Any, str]]:
    """Every key with its default and its line of help, in the order of the sections."""

    def walk(cls, prefix):
        for entry in dataclasses.fields(cls):
            hint = get_type_hints(cls)[entry.name]
            if dataclasses.is_dataclass(hint):
                yield from walk(hint, f"{prefix}{entry.name}.")
            elif entry.metadata:
                default = (
                    entry.default
                    if entry.default is not dataclasses.MISSING
                    else entry.default_factory()
                )
                yield f"{prefix}{entry.name}", default, entry.metadata["help"]

    yield from walk(Config, "")


def _unknown(key: str, word: str, choices: typing.Iterable[str], prefix: str) -> str:
    match = nearest_of(word, choices, 0.5)
    hint = (
        f"did you mean {prefix}{match}?"
        if match
        else f"valid are {', '.join(prefix + c for c in choices)}."
    )
    return f"Unknown configuration key {shorten(key)}; {hint}"


def _parse_override(text: str) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"Expected section.key=value on the command line but got {shown(text)}.")
    return key.split("."), Plain(value)


def _set(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        tree[key] = {} if is_null(tree.get(key)) else flow(key, tree[key])
        tree = tree[key]
        if not isinstance(tree, dict):
            raise ConfigError(
                f"{shorten('.'.join(keys))} cannot be set: {shorten(key)} is a value, not a section."
            )
    tree[keys[-1]] = value


def _build(cls, tree: Any, prefix: str):
    tree = {} if is_null(tree) else flow(prefix.rstrip("."), tree)
    if not isinstance(tree, dict):
        raise ConfigError(f"{prefix.rstrip('.')} must be a section of keys, but is {kind(tree)}.")
    if cls is Model:
        values = {
            str(key): coerce(f"model.{key}", value, Any)
            for key, value in tree.items()
            if key != "name"
        }
        return Model(coerce("model.name", tree.get("name", Model.name), str), values)
    hints, names = get_type_hints(cls), [entry.name for entry in dataclasses.fields(cls)]
    values = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in _REMOVED:
            _pass_over(name, value)
            continue
        if key not in names:
            raise ConfigError(_unknown(name, str(key), names, prefix))
        if dataclasses.is_dataclass(hints[key]):
            values[key] = _build(hints[key], value, f"{name}.")
        else:
            values[key] = coerce(name, value, hints[key])
        if name in _PATHS and values[key] is not None:
            values[key] = usable_path(name, values[key])
    return cls(**values)


def _pass_over(key: str, value: Any) -> None:
    harmless, why = _REMOVED[key]
    if coerce(key, value, type(harmless)) != harmless:
        raise ConfigError(f"{key} was removed, because {why}; leave it out.")
