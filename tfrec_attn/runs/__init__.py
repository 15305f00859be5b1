"""Run directories: their files, their data, their models, and unfinished runs."""
