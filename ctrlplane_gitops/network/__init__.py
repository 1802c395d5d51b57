"""Routers: who gets which requests, behind one protocol and one conformance suite."""
