"""Writes files and folders completely or not at all, and checks files by checksums."""
