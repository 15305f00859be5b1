"""The process: devices, precision, clusters, signals, SavedModels and Beam engines."""
