"""Sends requests to a served model from the command line.

    python -m serving.client recommend --history a,b,c --k 10 --model NAME

In Python the clients are `serving.clients.grpc_client.GrpcClient`, `AsyncGrpcClient`, and
`serving.clients.rest_client.RestClient`.
"""

import argparse
import csv
import dataclasses
import json
import sys
from collections.abc import Sequence

from tfrec_attn.cli.arguments import Arguments
from tfrec_attn.cli.terminal import align, fail
from tfrec_attn.errors import TfrecError, shown

from .cli import side_by_side
from .cli.model_reference import ModelReference, parse_reference
from .cli.packages import importing
from .clients.base_client import BaseClient
from .clients.responses import Explanation, Recommendations

_TARGET = "127.0.0.1:8500"
_UNREACHABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 with a response, 1 if no server answers in time, 2 for an invalid request.
    """
    parsed = _parser().parse_args(arguments)
    try:
        with _client(parsed) as client:
            response = _ask(client, parsed)
        if getattr(parsed, "against", None) is not None:
            with _client(parsed, parsed.against) as client:
                return _compare(response, _ask(client, parsed), parsed)
    except (TfrecError, ValueError) as error:
        code = fail(error)
        return code if getattr(error, "status", "UNAVAILABLE") in _UNREACHABLE else 2
    if isinstance(response, Recommendations) and response.k is not None and response.k < parsed.k:
        sys.stderr.write(
            f"note: the model answers for at most {response.k} items, but --k is {parsed.k}.\n"
        )
    plain = _plain(response, parsed)
    text = json.dumps(plain, ensure_ascii=False) if parsed.json else _table(response, parsed)
    sys.stdout.write(f"{text}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = Arguments(add_help=False)
    shared.add_argument("--model", required=True, metavar="NAME", help="model that is asked")
    shared.add_argument(
        "--history",
        type=_ids,
        default=[],
        metavar="ID,ID",
        help="ids, oldest first; quote one with a comma: '\"a,b\",c'",
    )
    shared.add_argument(
        "--user", default="", metavar="ID", help="id of the user (default: unknown)"
    )
    where = shared.add_mutually_exclusive_group()
    where.add_argument("--target", metavar="HOST:PORT", help=f"gRPC server (default: {_TARGET})")
    where.add_argument("--url", help="REST server instead, such as http://127.0.0.1:8501")
    which = shared.add_mutually_exclusive_group()
    which.add_argument(
        "--version", type=int, help="version of the model (default: the server's choice)"
    )
    which.add_argument("--label", help="label of a version")
    shared.add_argument(
        "--timeout",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="for the whole call (default: 5)",
    )
    shared.add_argument(
        "--retries", type=int, default=3, help="where no server answers, 0 to 4 (default: 3)"
    )
    shared.add_argument(
        "--tls",
        nargs="?",
        const=True,
        metavar="ROOTS",
        help="encrypt gRPC; roots in a PEM file, also of an https URL",
    )
    shared.add_argument(
        "--metadata",
        type=_pair,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="sent with the call; repeatable",
    )
    shared.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser = Arguments(prog=f"python -m {__package__}.client", description="Asks a served model.")
    commands = parser.add_subparsers(
        dest="signature", required=True, metavar="recommend | score | explain | embed"
    )
    recommend = commands.add_parser("recommend", parents=[shared], help="the best items")
    recommend.add_argument("--k", type=int, default=10, help="number of items (default: 10)")
    recommend.add_argument(
        "--exclude", type=_ids, default=[], metavar="ID,ID", help="items that are not wanted"
    )
    recommend.add_argument(
        "--allow", type=_ids, default=[], metavar="ID,ID", help="items that alone are wanted"
    )
    recommend.add_argument(
        "--against",
        type=parse_reference,
        metavar="MODEL[:VERSION or LABEL]",
        help="ask this model of the server too, and print both lists beside each other",
    )
    score = commands.add_parser("score", parents=[shared], help="scores of items")
    score.add_argument(
        "--candidates", type=_ids, required=True, metavar="ID,ID", help="items to score"
    )
    explain = commands.add_parser(
        "explain", parents=[shared], help="contribution of each event to the score of an item"
    )
    explain.add_argument("--item", required=True, metavar="ID", help="item that is explained")
    commands.add_parser("embed", parents=[shared], help="the query vector")
    return parser


def _ids(text: str) -> list[str]:
    try:
        return [one for row in csv.reader([text], strict=True) for one in row]
    except csv.Error as error:
        raise argparse.ArgumentTypeError(
            f"expected ids separated by commas, but {shown(text)} is not: {error}."
        ) from None


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not (key and found):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, but {shown(text)} came.")
    return key, value


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
    with importing():
        from .clients.grpc_client import GrpcClient
    return GrpcClient(parsed.target or _TARGET, asked.model, tls=parsed.tls, **options)


def _ask(client: BaseClient, parsed: argparse.Namespace):
    if parsed.signature == "recommend":
        return client.recommend(parsed.history, parsed.user, parsed.k, parsed.exclude, parsed.allow)
    if parsed.signature == "score":
        return client.score(parsed.history, parsed.candidates, parsed.user)
    if parsed.signature == "explain":
        return client.explain(parsed.history, parsed.item, parsed.user)
    return client.embed(parsed.history, parsed.user)


def _compare(response: Recommendations, other: Recommendations, parsed) -> int:
    """Writes the lists of two models."""
    names = str(ModelReference(parsed.model, parsed.version, parsed.label)), str(parsed.against)
    if parsed.json:
        compared = side_by_side.as_dict(response, other, names)
        text = json.dumps(compared, ensure_ascii=False)
    else:
        text = side_by_side.as_text(response, other, names)
    sys.stdout.write(f"{text}\n")
    return 0


def _plain(response, parsed: argparse.Namespace) -> dict:
    """The response as a dict for JSON."""
    if dataclasses.is_dataclass(response):
        return dataclasses.asdict(response)
    if parsed.signature == "embed":
        return {"query": response}
    return {"candidates": parsed.candidates, "scores": response}


def _table(response, parsed: argparse.Namespace) -> str:
    if isinstance(response, Recommendations):
        pairs = enumerate(zip(response.items, response.scores, strict=True), 1)
        rows = [
            [str(place), item, side_by_side.score_text(score)] for place, (item, score) in pairs
        ]
        note = {
            "popular": "\n\nNothing of the history is known: these are the most popular items.",
            "model": "",
        }
        return _columns(["", "item", "score"], rows) + note.get(response.source, "")
    if isinstance(response, Explanation):
        return _explanation(response)
    if parsed.signature == "embed":
        return "  ".join(f"{one:.4f}" for one in response)
    rows = [
        [item, "unknown" if score is None else f"{score:.4f}"]
        for item, score in zip(parsed.candidates, response, strict=True)
    ]
    return _columns(["item", "score"], rows)


def _explanation(response: Explanation) -> str:
    head, columns = (
        ["event", "contribution"],
        [response.history, [f"{one:+.4f}" for one in response.contribution]],
    )
    if response.attention is not None:
        head, columns = (
            [*head, "attention"],
            [*columns, [f"{one:.4f}" for one in response.attention]],
        )
    return _columns(head, [list(row) for row in zip(*columns, strict=True)])


def _columns(head: list[str], rows: list[list[str]]) -> str:
    left = [column for column, name in enumerate(head) if name in ("item", "event")]
    return align([head, *rows], left)


if __name__ == "__main__":
    sys.exit(main())
