"""Weights that leave for other programs, and those that come from them."""
