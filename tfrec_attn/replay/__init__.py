"""Held-out events of a run, ranked again by a function that predicts, wherever the model is."""
