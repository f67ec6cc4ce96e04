"""Trained models for other programs: no torch."""
