"""One module per rule: read files, call pure functions, write files."""
