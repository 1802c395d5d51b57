"""Tests, as a mirror of the package."""
