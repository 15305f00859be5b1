"""The protocol of TF Serving, read to and written from NumPy arrays."""
