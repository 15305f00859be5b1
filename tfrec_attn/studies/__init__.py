"""Studies of several trainings."""
