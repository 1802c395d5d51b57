"""Certificates that are issued."""
