"""Runs a SavedModel behind FastAPI and uvicorn, as many applications do, and prints the port.

    python benchmarks/_fastapi.py FOLDER

Its only route takes the JSON of TF Serving, and calls `serving_default`.
"""

import socket
import sys

import fastapi
import tensorflow as tf
import uvicorn


def application(folder: str) -> fastapi.FastAPI:
    """Returns the application that serves the SavedModel in a folder."""
    app, model = fastapi.FastAPI(), tf.saved_model.load(folder)
    signature = model.signatures["serving_default"]

    # Not async, because FastAPI runs functions that are not async in its threads.
    @app.post("/v1/models/{name}:predict")
    def predict(name: str, body: dict) -> dict:
        rows = body["instances"]
        found = signature(
            user_id=tf.constant([row["user_id"] for row in rows]),
            history=tf.constant([row["history"] for row in rows]),
        )
        items, scores, source = (found[key].numpy() for key in ("items", "scores", "source"))
        answers = zip(items.tolist(), scores.tolist(), source.tolist(), strict=True)
        keys = ("items", "scores", "source")
        return {"predictions": [dict(zip(keys, one, strict=True)) for one in answers]}

    # Keeps a reference, because the functions of a SavedModel do not keep its variables.
    app.state.model = model
    return app


def main() -> None:
    app = application(sys.argv[1])
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"REST on 127.0.0.1:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listening])


if __name__ == "__main__":
    main()
