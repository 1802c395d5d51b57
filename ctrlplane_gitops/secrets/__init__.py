"""Where secret values come from, behind one protocol and one conformance suite."""
