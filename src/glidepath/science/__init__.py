"""Pure functions of numbers and arrays: numpy and scipy only, no files, no clock, no global random state."""
