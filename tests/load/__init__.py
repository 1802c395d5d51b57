"""Traffic for tests: an open-loop load in a process of its own, and connections that are held."""
