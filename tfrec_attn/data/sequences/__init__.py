"""Turns interactions into encoded, filtered and split sequences."""
