"""A model card as Markdown."""

import json
import shlex

import yaml

from tfrec_attn.data.sequences.trained_rows import missing_text

_SPLITS = {
    "leave-one-out": "Each user's last event is the test, the one before it the validation, all earlier ones train.",
    "temporal": "What came before {valid_from} trains (a share of all events, or a date); a user's first event from then on validates, "
    "his first event from {test_from} on is the test.",
}


def markdown(card: dict, example: list[str]) -> str:
    """The README.md of a version.

    Args:
      card: what `write_card` puts into model_card.json.
      example: some items, to show a request with.
    """
    parts = [
        _head(card),
        _quality(card),
        _data(card),
        _calling(card, example),
        _signatures(card),
        _cost(card),
        _training(card),
    ]
    return "\n\n".join(parts) + "\n"


def _head(card: dict) -> str:
    parameters = ", ".join(
        f"{key}={json.dumps(value)}" for key, value in card["model"]["parameters"].items()
    )
    title = f"# {card['name']}, version {card['version']}\n\nRecommends the next items to a user from the ids of what he touched before."
    return (
        f"{title}\n\nModel `{card['model']['name']}`{f' with {parameters}' if parameters else ''}."
    )


def _quality(card: dict) -> str:
    metrics = card["metrics"]
    rows = {**card["baselines"], card["model"]["name"]: metrics["test"]}
    lines = [
        [name, *(f"{values[metric]:.4f}" for metric in metrics["test"])]
        for name, values in rows.items()
    ]
    if "test_interval" in metrics:
        ends = [metrics["test_interval"][metric] for metric in metrics["test"]]
        lines.append(["95 % interval", *(f"{low:.4f} to {high:.4f}" for low, high in ends)])
    return "## Quality\n\n" + _table(["test", *metrics["test"]], lines)


def _data(card: dict) -> str:
    data, protocol = card["data"], card["protocol"]
    filters = protocol["filters"]
    intervals = ", with bootstrap intervals" if "test_interval" in card["metrics"] else ""
    return (
        f"## Data and test\n\n{data['source']}: {data['events']:,} events of {data['users']:,} users with {data['items']:,} items, "
        f"users with {filters['min_user_events']} and items with {filters['min_item_events']} events or more. "
        f"SHA-256 of the prepared events: `{data['sha256']}`.{_untrained(data['untrained'])}\n\n"
        f"{_SPLITS[protocol['split']].format(**protocol)} "
        f"Each test item is ranked against {protocol['ranked_against']}{_repeats(card)} Ties count {protocol['ties']}; "
        f"metrics are means over test events{intervals}. Protocol `{protocol['hash']}`."
    )


def _untrained(missing: dict) -> str:
    return f" {missing_text(missing)}" if any(missing.values()) else ""


def _repeats(card: dict) -> str:
    excluded = card["protocol"]["repeats"] == "exclude"
    rule = (
        " but those of the user's history, in which a test item is a miss."
        if excluded
        else ", those of the user's history too."
    )
    share = (
        ""
        if card["repeats"] is None
        else f" {card['repeats']['test']:.1%} of the test items are in their user's history."
    )
    return f"{rule}{share}"


def _calling(card: dict, history: list[str]) -> str:
    separator, columns = card["serving"]["separator"], card["serving"]["max_length"] + 1
    row = {"user_id": "", "history": separator.join(history)}
    body = json.dumps(
        {"signature_name": "serving_default_joined", "instances": [row]}, ensure_ascii=False
    )
    character = "the tab" if separator == "\t" else f"`{separator}`"
    return (
        f"## How to call it\n\n```sh\ncurl -d {shlex.quote(body)} http://localhost:8501/v1/models/{card['name']}:predict\n```\n\n"
        f"- In the signatures named `..._joined` a `history` is one text: its ids, the oldest first, with {character} between them. "
        "`exclude`, `allow` and `candidates` are joined in the same way; the empty text is an empty list. A server can put any of these "
        "requests together. Answers are as wide as the longest row of a batch: take as many columns as your row has ids.\n"
        f"- In the others a `history` is a row of ids. Give every request of a client the same number of columns, {columns} is enough, "
        'with `""` on the left of what is shorter and at least one `""`: a server that pads rows repeats their first id behind the last, '
        "as if it were the newest event.\n"
        "- Unknown ids are passed over; an unknown user is served from the history; where nothing is known the most popular items come, "
        "with `popular` as `source`.\n"
        f"- {_answers(card['serving'])}"
    )


def _answers(serving: dict) -> str:
    seen = (
        "Items of the history may come again."
        if serving["keep_seen"]
        else "Items of the history do not come again."
    )
    index = serving["index"]
    about = ", ".join(f"{key} {value}" for key, value in (index or {}).items())
    search = f"Items are found by an index ({about})." if index else "Every item is scored."
    limit = f"`serving_default` gives {serving['k']} items, `recommend` up to {serving['max_k']}: its output `k` is the k that was applied"
    return f'{limit}; where fewer are left, `""` with the lowest float as score. {seen} {search}'


def _signatures(card: dict) -> str:
    lines = [
        [f"`{name}`", _tensors(one["inputs"]), _tensors(one["outputs"])]
        for name, one in card["signatures"].items()
    ]
    return "## Signatures\n\n" + _table(["signature", "inputs", "outputs"], lines)


def _tensors(tensors: dict) -> str:
    return ", ".join(
        f"`{name}` {one['dtype']} {_shape(one['shape'])}" for name, one in tensors.items()
    )


def _shape(shape: list) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _cost(card: dict) -> str:
    sizes, latency, versions = card["sizes"], card["latency_ms"], card["versions"]
    return (
        f"## Size and speed\n\n{sizes['parameters']:,} trained parameters, {sizes['items']:,} items, {sizes['bytes']:,} bytes on disk.\n\n"
        f"`serving_default` for one user takes {latency['p50']} ms (median of {latency['requests']}; 99 %: {latency['p99']} ms) in "
        f"process, measured at export on {latency['cpus']} CPUs ({latency['processor']}) with TensorFlow {versions['tensorflow']}."
    )


def _training(card: dict) -> str:
    training = card["training"]
    text = yaml.safe_dump(training["config"], sort_keys=False, allow_unicode=True).rstrip()
    return (
        f"## Training\n\nEpoch {training['best_epoch']} of {training['epochs']}, in {training['train_seconds']:.0f} s, by tfrec-attn "
        f"{card['versions']['tfrec_attn']}:\n\n```yaml\n{text}\n```"
    )


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
