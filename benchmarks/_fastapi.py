"""Runs a SavedModel behind FastAPI and uvicorn, as many applications do, and prints its port.

    python benchmarks/_fastapi.py FOLDER

One route takes the JSON of TF Serving with one history a request, and calls `serving_default`.
"""

import socket
import sys

import fastapi
import tensorflow as tf
import uvicorn


def application(folder: str) -> fastapi.FastAPI:
    """Returns the application of a SavedModel."""
    app, model = fastapi.FastAPI(), tf.saved_model.load(folder)
    signature = model.signatures["serving_default"]

    # Not async: FastAPI runs such functions in its threads.
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

    # Kept with the application: the functions of a SavedModel do not keep its variables.
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
