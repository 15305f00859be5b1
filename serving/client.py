"""Sends requests to a served model from the command line.

    python -m serving.client recommend --history a,b,c --k 10 --model NAME

In Python the clients are `serving.clients.grpc_client.GrpcClient`, `AsyncGrpcClient`, and
`serving.clients.rest_client.RestClient`.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from tfrec_attn.cli.terminal import fail
from tfrec_attn.errors import TfrecError, shorten, shown

from .cli import side_by_side
from .cli.client_options import client_parser
from .cli.client_tables import items_of, table
from .cli.packages import importing
from .cli.shared_options import ModelReference
from .clients.base_client import BaseClient
from .clients.responses import ClientError, Explanation, Recommendations, SimilarItems

_RERANKING = ("allow_category", "per_category", "popularity_penalty", "diversity")
# The options that each method of a client takes as arguments.
_ARGUMENTS = {
    "recommend": ("history", "user", "k", "exclude", "allow", *_RERANKING),
    "similar": ("item", "k", "by"),
    "describe": ("items",),
    "score": ("history", "candidates", "user"),
    "explain": ("history", "item", "user"),
    "embed": ("history", "user"),
}
_UNREACHABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0 with a response, 1 if no server responds in time, 2 for an invalid request.
    """
    parsed = client_parser(f"python -m {__package__}.client").parse_args(arguments)
    try:
        with _client(parsed) as client:
            response = _ask(client, parsed)
            if getattr(parsed, "against", None) is not None:
                with _client(parsed, parsed.against) as other:
                    return _compare(response, _ask(other, parsed), parsed)
            titles = {} if parsed.json else _titles(client, items_of(response, parsed))
    except (TfrecError, ValueError) as error:
        code = fail(error)
        return code if getattr(error, "status", "UNAVAILABLE") in _UNREACHABLE else 2
    for note in _notes(response, parsed):
        sys.stderr.write(f"note: {note}\n")
    plain = _plain(response, parsed)
    text = json.dumps(plain, ensure_ascii=False) if parsed.json else table(response, parsed, titles)
    sys.stdout.write(f"{text}\n")
    return 0


def _client(parsed: argparse.Namespace, asked: ModelReference | None = None) -> BaseClient:
    asked = asked or ModelReference(parsed.model, parsed.version, parsed.label)
    options = {name: getattr(parsed, name) for name in ("timeout", "retries", "metadata")}
    options |= {"version": asked.version, "label": asked.label}
    if parsed.url is not None:
        with importing():
            from .clients.rest_client import RestClient
        return RestClient(
            parsed.url, asked.model, tls=None if parsed.tls is True else parsed.tls, **options
        )
    with importing(stubs_alone=True):
        from .clients.grpc_client import GrpcClient
    return GrpcClient(parsed.target, asked.model, tls=parsed.tls, **options)


def _ask(client: BaseClient, parsed: argparse.Namespace):
    arguments = (getattr(parsed, name) for name in _ARGUMENTS[parsed.signature])
    return getattr(client, parsed.signature)(*arguments)


def _compare(response: Recommendations, other: Recommendations, parsed) -> int:
    """Writes the comparison of the lists of two models."""
    for note in dict.fromkeys([*_notes(response, parsed), *_notes(other, parsed)]):
        sys.stderr.write(f"note: {note}\n")
    names = str(ModelReference(parsed.model, parsed.version, parsed.label)), str(parsed.against)
    if parsed.json:
        compared = side_by_side.as_dict(response, other, names)
        text = json.dumps(compared, ensure_ascii=False)
    else:
        text = side_by_side.as_text(response, other, names)
    sys.stdout.write(f"{text}\n")
    return 0


def _titles(client: BaseClient, items: Sequence[str]) -> dict[str, str]:
    """The titles of items; {} if the model was exported without an items file."""
    items = list(dict.fromkeys(items))
    try:
        described = client.describe(items) if items else []
    except ClientError:
        # The model does not have the signature.
        return {}
    pairs = zip(items, (one.get("title") for one in described), strict=True)
    return {item: shorten(title) for item, title in pairs if title}


def _notes(response, parsed: argparse.Namespace) -> list[str]:
    notes = []
    if getattr(response, "k", None) is not None and response.k < parsed.k:
        notes.append(f"the model returns at most {response.k} items, but --k is {parsed.k}.")
    if isinstance(response, (SimilarItems, Explanation)) and not response.known:
        notes.append(f"the model knows no item {shown(response.item)}; give another --item.")
    for one in getattr(response, "unknown_categories", ()):
        notes.append(f"no item has the category {shown(one)}; give others to --allow-category.")
    return notes


def _plain(response, parsed: argparse.Namespace) -> dict:
    """Converts a response to a dictionary for JSON."""
    if dataclasses.is_dataclass(response):
        return dataclasses.asdict(response)
    if parsed.signature == "embed":
        return {"query": response}
    if parsed.signature == "describe":
        return {"items": parsed.items, "descriptions": response}
    return {"candidates": parsed.candidates, "scores": response}


if __name__ == "__main__":
    sys.exit(main())
