"""Ranks the held-out events of a run again, by a local or served model."""
