"""Checks and measurements of a deployment."""
