"""Tests of the execute."""
