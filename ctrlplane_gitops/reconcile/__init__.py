"""One pass: look, compare, act."""
