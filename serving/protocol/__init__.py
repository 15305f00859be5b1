"""TF Serving's protocol as values of NumPy, and back."""
