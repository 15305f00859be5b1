"""Options, tables and imports of the commands."""
