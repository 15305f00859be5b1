"""Converts between the protocol of TF Serving and NumPy arrays."""
