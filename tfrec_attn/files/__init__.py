"""Files that are written whole, known by their content, and checked."""
