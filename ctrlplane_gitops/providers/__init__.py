"""Providers: where replicas run, behind one protocol and one conformance suite."""
