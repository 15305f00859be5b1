"""A page about finished runs, for a person who decides."""
