"""Laws: one formula each, pure, with its parameters, `predict` and fit."""
