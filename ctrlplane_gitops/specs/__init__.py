"""What may be written: YAML documents, their models, and every mistake with its place."""
