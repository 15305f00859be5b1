"""Prepared folders: how they are made, and read back."""
