"""Writes and reads prepared folders."""
