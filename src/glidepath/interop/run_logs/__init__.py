"""Logs of training runs as other programs write them: one reader per format, each yielding parts of a file."""
