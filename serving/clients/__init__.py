"""Clients of a served model."""
