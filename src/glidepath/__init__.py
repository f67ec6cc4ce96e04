"""Glidepath: measure, on your own text and hardware, how a language model should be trained."""

__version__ = "0.1.0"
