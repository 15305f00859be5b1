"""Exports a run for programs without TensorFlow: as ONNX or LiteRT, with a small runner."""
