"""Ranks of held-out items, metrics, intervals and baselines."""
