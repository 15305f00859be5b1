"""Studies of several trainings: the search for settings."""
