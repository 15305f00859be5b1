"""Arguments and terminal output of the commands."""
