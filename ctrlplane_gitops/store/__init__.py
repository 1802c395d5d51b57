"""The store: what we wrote down, behind one protocol and one conformance suite."""
