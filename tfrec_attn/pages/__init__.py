"""Pages of HTML that commands write, with tables and charts, which need no other file."""
