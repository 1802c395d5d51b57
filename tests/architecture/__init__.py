"""Claims about the code itself."""
