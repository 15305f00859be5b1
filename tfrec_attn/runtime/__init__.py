"""Settings of the process: seeds, devices, precision, clusters and signals."""
