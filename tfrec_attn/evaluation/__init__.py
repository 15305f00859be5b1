"""Ranks of held-out items, metrics and intervals."""
