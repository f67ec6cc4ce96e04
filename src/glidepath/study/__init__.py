"""The vocabulary of a study: its configuration, cells, segments, table schemas and provenance."""
