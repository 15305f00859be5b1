from export.shared_config import without_paths
from tfrec_attn import config as configuration


def test_of_paths_only_the_last_part_is_left():
    config = configuration.to_dict(
        configuration.from_dict(
            {
                "data": {
                    "source": "~/prepared/",
                    "schema": "../schema.pbtxt",
                    "columns": {"item": "shop/item"},
                    "names": ["a/b", "c"],
                },
                "train": {"warm_start": "/home/me/runs/old"},
                "run_dir": "runs/new",
            }
        )
    )
    found = without_paths(
        {**config, "more": ["C:\\logs\\x.csv", 3, None, "s3://bucket/parts/*.csv"]}
    )
    assert (found["data"]["source"], found["data"]["schema"], found["train"]["warm_start"]) == (
        "prepared",
        "schema.pbtxt",
        "old",
    )
    assert (found["run_dir"], found["more"]) == ("new", ["x.csv", 3, None, "*.csv"])
    assert (found["data"]["columns"], found["data"]["names"]) == (
        config["data"]["columns"],
        ["a/b", "c"],
    )
    assert found["model"] == config["model"] and found["evaluate"] == config["evaluate"]
