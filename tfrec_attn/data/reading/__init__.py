"""Reads files into interactions."""
