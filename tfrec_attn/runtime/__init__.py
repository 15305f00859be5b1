"""The process: seeds, devices, precision, clusters and signals."""
