"""Exports a run as ONNX or LiteRT, with a small runner, for programs without TensorFlow."""
