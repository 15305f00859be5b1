"""The options of the client command."""

import argparse
import csv

from tfrec_attn.cli.arguments import Arguments
from tfrec_attn.errors import shown

from ..clients.requests import SIMILARITIES
from .shared_options import REFERENCE, add_target, add_version, parse_reference


def client_parser(prog: str) -> argparse.ArgumentParser:
    """Returns the parser of the command. Its subcommand is parsed as `signature`."""
    parser = Arguments(prog=prog, description="Asks a served model.")
    commands = parser.add_subparsers(
        dest="signature",
        required=True,
        metavar="recommend | similar | score | explain | embed | describe",
    )
    parents = [_shared(), _of_user()]
    recommend = commands.add_parser("recommend", parents=parents, help="the best items")
    _add_k(recommend)
    recommend.add_argument(
        "--exclude", type=_ids, default=[], metavar="ID,ID", help="items that are not wanted"
    )
    recommend.add_argument(
        "--allow", type=_ids, default=[], metavar="ID,ID", help="the only items that are wanted"
    )
    recommend.add_argument(
        "--against",
        type=parse_reference,
        metavar=REFERENCE,
        help="ask this model of the server too, and print both lists beside each other",
    )
    _add_reranking(recommend)
    similar = commands.add_parser("similar", parents=parents[:1], help="items similar to an item")
    similar.add_argument("--item", required=True, metavar="ID", help="id of the item")
    similar.add_argument(
        "--by",
        default=SIMILARITIES[0],
        choices=SIMILARITIES,
        help="cosine of the item vectors, or score of the model (default: %(default)s)",
    )
    _add_k(similar)
    score = commands.add_parser("score", parents=parents, help="scores of items")
    score.add_argument(
        "--candidates", type=_ids, required=True, metavar="ID,ID", help="items to score"
    )
    explain = commands.add_parser(
        "explain", parents=parents, help="contribution of each event to the score of an item"
    )
    explain.add_argument("--item", required=True, metavar="ID", help="item that is explained")
    commands.add_parser("embed", parents=parents, help="the query vector")
    describe = commands.add_parser(
        "describe", parents=parents[:1], help="titles and other columns of items"
    )
    describe.add_argument("--items", type=_ids, required=True, metavar="ID,ID", help="the items")
    return parser


def _shared() -> argparse.ArgumentParser:
    shared = Arguments(add_help=False)
    shared.add_argument("--model", required=True, metavar="NAME", help="model that is asked")
    where = shared.add_mutually_exclusive_group()
    add_target(where)
    where.add_argument("--url", help="REST server instead, such as http://127.0.0.1:8501")
    add_version(shared)
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
    return shared


def _of_user() -> argparse.ArgumentParser:
    options = Arguments(add_help=False)
    options.add_argument(
        "--history",
        type=_ids,
        default=[],
        metavar="ID,ID",
        help="ids, oldest first; quote one with a comma: '\"a,b\",c'",
    )
    options.add_argument(
        "--user", default="", metavar="ID", help="id of the user (default: unknown)"
    )
    return options


def _add_reranking(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of models with recommend_diverse")
    group.add_argument(
        "--allow-category",
        type=_ids,
        default=[],
        metavar="CATEGORY,CATEGORY",
        help="recommend only items of these categories",
    )
    group.add_argument(
        "--per-category", type=int, default=0, metavar="N", help="most items of a category"
    )
    group.add_argument(
        "--popularity-penalty",
        type=float,
        default=0.0,
        metavar="P",
        help="subtract P ln(1 + relative popularity) from the scores",
    )
    group.add_argument(
        "--diversity",
        type=float,
        default=0.0,
        metavar="D",
        help="0 for the best items (default) to 1 for the most different ones",
    )


def _add_k(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--k", type=int, default=10, help="number of items (default: 10)")


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
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, but got {shown(text)}.")
    return key, value
