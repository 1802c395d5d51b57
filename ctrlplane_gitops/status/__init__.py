"""What is, as people and programs read it."""
