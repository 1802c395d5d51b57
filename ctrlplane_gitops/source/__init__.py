"""Where specs come from, behind one protocol and one conformance suite."""
