"""A server with titles, two versions and histories, as a shop would run it."""

import json
import shutil
from dataclasses import dataclass

import pytest

from serving.clients.rest_client import RestClient
from serving.server.model_config import ModelConfig, VersionPolicy
from serving.server.model_store import ModelStore


@dataclass
class Shop:
    """The server, and what is known of it from elsewhere.

    Attributes:
        rest_port: Port of HTTP.
        titles: Item -> title, in the order of the catalogue.
        histories: User -> items in the log.
    """

    rest_port: int
    titles: dict
    histories: dict

    def _client(self, reference):
        name, _, which = reference.partition(":")
        version = int(which) if which else None
        url = f"http://127.0.0.1:{self.rest_port}"
        return RestClient(url, name, version=version, timeout=20)

    def recommend(self, reference, history, k):
        with self._client(reference) as client:
            return client.recommend(history, k=k).items

    def explain(self, reference, history, item):
        with self._client(reference) as client:
            return client.explain(history, item).contribution


@pytest.fixture(scope="session")
def items(run):
    """The ids of the served items."""
    return (run / "vocabulary" / "items.txt").read_text().splitlines()


@pytest.fixture(scope="session")
def shop(servable, items, toy, tmp_path_factory):
    """A `Shop` with the models `sasrec` and `toy`.

    Version 2 of `sasrec` has the weights of version 1 for other items, so its lists are others. The
    label `old` is version 1. `toy` has no file of its items.
    """
    from serving.local_server import LocalServer
    from serving.server.user_log import read_user_log

    folder = tmp_path_factory.mktemp("shop")
    titles = {
        item: f"Café <b>{place}</b>" if place % 2 else f"Wonder Film {place}"
        for place, item in enumerate(items)
    }
    turned = items[7:] + items[:7]
    for version, order in (("1", items), ("2", turned)):
        assets = shutil.copytree(servable / "1", folder / "sasrec" / version) / "assets"
        for name in ("SHA256SUMS", "tf_serving_warmup_requests"):
            (assets.parent / "assets.extra" / name).unlink()
        (assets / "items.txt").write_text("".join(f"{item}\n" for item in order))
        lines = [json.dumps({"title": titles[item]}) for item in order]
        (assets / "descriptions.jsonl").write_text("".join(f"{line}\n" for line in lines))
    histories = {"u1": items[:3], "u2": items[20:45], "jo": [items[9], "unheard-of"]}
    rows = [
        f"{user},{item},{time}"
        for user, some in histories.items()
        for time, item in enumerate(some)
    ]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    models = [
        ModelConfig("sasrec", folder / "sasrec", VersionPolicy(every=True), {"old": 1}),
        ModelConfig("toy", toy),
    ]
    users = read_user_log(folder / "log.csv", folder / "sasrec")
    local = LocalServer(ModelStore(models, poll=3600), port=0, rest_port=0, users=users)
    local.start()
    yield Shop(local.rest_port, titles, histories)
    local.stop(grace=5)
