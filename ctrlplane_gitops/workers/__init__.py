"""What is done again and again, and the threads that do it."""
