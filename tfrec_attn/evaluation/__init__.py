"""Ranks of held-out items, metrics, and what they are compared with."""
