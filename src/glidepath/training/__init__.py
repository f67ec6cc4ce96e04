"""Training: the only code that knows torch. Everything it is asked to do is a `SegmentSpec`, all it answers
are arrays."""
