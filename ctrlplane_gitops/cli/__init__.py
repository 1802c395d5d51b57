"""The command line: verbs, flags, output and exit codes."""
