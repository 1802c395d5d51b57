"""Making it so: one action at a time per instance, many instances side by side."""
