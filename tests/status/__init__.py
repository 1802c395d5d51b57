"""What is, in one document, and how it reads."""
