"""The model card of a version as Markdown: its model_card.json, and how to call the model."""

import json
import shlex

import yaml

from tfrec_attn.data.sequences.trained_rows import missing_text

_LEAVE_ONE_OUT = (
    "The last event of each user is the test event, the one before it the validation event, and "
    "all earlier ones are training events."
)
_TEMPORAL = "Events before {valid_from} (a date, or a share of all events) are training events. "
# Validation and test events of a temporal split, by `evaluate.targets`.
_TARGETS = {
    "first": "The first event of a user from then to {test_from} is their validation event, and "
    "their first event from {test_from} on is their test event.",
    "last": "The last event of a user from then to {test_from} is their validation event, and "
    "their last event from {test_from} on is their test event.",
    "all": "All events from then to {test_from} are validation events, and all events from "
    "{test_from} on are test events.",
}


def markdown(card: dict, example: list[str]) -> str:
    """Returns the text of a version's README.md.

    Args:
        card: The content of model_card.json, as from `write_card`.
        example: Ids of items for the example request.
    """
    model, training, sizes = card["model"], card["training"], card["sizes"]
    latency, versions = card["latency_ms"], card["versions"]
    parameters = ", ".join(f"{key}={json.dumps(one)}" for key, one in model["parameters"].items())
    config = yaml.safe_dump(training["config"], sort_keys=False, allow_unicode=True).rstrip()
    return f"""# {card["name"]}, version {card["version"]}

Recommends the next items to a user from the ids of the items in their history.

Model `{model["name"]}`{f" with {parameters}" if parameters else ""}.

## Quality

{_quality(card)}

## Data and test

{_data(card)}

## How to call it

{_calling(card, example)}

## Signatures

{_signatures(card["signatures"])}

## Size and speed

{sizes["parameters"]:,} trained parameters, {sizes["items"]:,} items, \
{sizes["bytes"]:,} bytes on disk.

`serving_default` for one user takes {latency["p50"]} ms (median of {latency["requests"]}; \
99 %: {latency["p99"]} ms) in process, measured at export on {latency["cpus"]} CPUs \
({latency["processor"]}) with TensorFlow {versions["tensorflow"]}.

## Training

Epoch {training["best_epoch"]} of {training["epochs"]}, in {training["train_seconds"]:.0f} s, \
by tfrec-attn {versions["tfrec_attn"]}:

```yaml
{config}
```
"""


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
    return _table(["test", *metrics["test"]], lines)


def _data(card: dict) -> str:
    data, rules = card["data"], card["protocol"]
    filters, untrained = rules["filters"], data["untrained"]
    if rules["repeats"] == "exclude":
        repeats = (
            " except those of the user's history; a test item that is in the history is a miss."
        )
    else:
        repeats = ", including those of the user's history."
    if card["repeats"] is not None:
        repeats += f" {card['repeats']['test']:.1%} of the test items are in their user's history."
    return (
        f"{data['source']}: {data['events']:,} events of {data['users']:,} users with "
        f"{data['items']:,} items, after removing users with fewer than "
        f"{filters['min_user_events']} and items with fewer than {filters['min_item_events']} "
        f"events. SHA-256 of the prepared events: `{data['sha256']}`."
        f"{f' {missing_text(untrained)}' if any(untrained.values()) else ''}\n\n"
        f"{_split(rules)} "
        f"Each test item is ranked against {rules['ranked_against']}{repeats} "
        f"Ties count {rules['ties']}; metrics are means over test events"
        f"{', with bootstrap intervals' if 'test_interval' in card['metrics'] else ''}. "
        f"Protocol `{rules['hash']}`."
    )


def _split(rules: dict) -> str:
    if rules["split"] == "leave-one-out":
        return _LEAVE_ONE_OUT
    return f"{_TEMPORAL}{_TARGETS[rules.get('targets', 'first')]}".format(**rules)


def _calling(card: dict, history: list[str]) -> str:
    serving = card["serving"]
    separator = serving["separator"]
    row = {"user_id": "", "history": separator.join(history)}
    body = json.dumps(
        {"signature_name": "serving_default_joined", "instances": [row]}, ensure_ascii=False
    )
    return (
        f"```sh\ncurl -d {shlex.quote(body)} "
        f"http://localhost:8501/v1/models/{card['name']}:predict\n```\n\n"
        "- In the signatures named `..._joined` a `history` is one text: its ids, the oldest "
        f"first, with {'the tab' if separator == chr(9) else f'`{separator}`'} between them. "
        "`exclude`, `allow` and `candidates` are joined in the same way; the empty text is an "
        "empty list. A server can batch any of these requests. Responses are as wide as the "
        "longest row of a batch: read as many columns as your row has ids.\n"
        "- In the other signatures a `history` is a row of ids. Give all requests of a client the "
        f"same number of columns ({serving['max_length'] + 1} is enough), with at least one "
        '`""` on the left: a server that pads rows repeats the first id of a row at its end, as '
        "if it were the newest event.\n"
        "- Unknown ids are ignored. An unknown user is served from the history. If nothing is "
        "known, the response is the most popular items, with `popular` as `source`.\n"
        f"- `serving_default` returns {serving['k']} items, `recommend` up to "
        f"{serving['max_k']}: its output `k` is the k that was applied. If fewer items are left, "
        'the rest is `""` with the lowest float as score. Items of the history '
        f"{'may' if serving['keep_seen'] else 'are not'} "
        f"{'be recommended' if serving['keep_seen'] else 'recommended'}. "
        f"{_search(serving)}"
    )


def _search(serving: dict) -> str:
    def listed(of):
        return ", ".join(f"{key} {value}" for key, value in of.items())

    if serving["index"]:
        return f"Items are found by an index ({listed(serving['index'])})."
    if not (matrix := serving.get("matrix")):
        return "All items are scored."
    measured = {key: value for key, value in matrix.items() if key != "kind"}
    return f"All items are scored. The item vectors are {matrix['kind']} ({listed(measured)})."


def _signatures(signatures: dict) -> str:
    def listed(tensors):
        shapes = {
            name: ", ".join("?" if size is None else str(size) for size in one["shape"])
            for name, one in tensors.items()
        }
        return ", ".join(
            f"`{name}` {one['dtype']} [{shapes[name]}]" for name, one in tensors.items()
        )

    return _table(
        ["signature", "inputs", "outputs"],
        [
            [f"`{name}`", listed(one["inputs"]), listed(one["outputs"])]
            for name, one in signatures.items()
        ],
    )


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
