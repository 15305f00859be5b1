"""Runs a gRPC server that returns the bytes of each Predict request, and prints its port."""

import sys
import threading
from concurrent import futures

import grpc


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(32))
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    service = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Predict": echo})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"gRPC on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
