"""What the documents promise of speed and memory, measured side by side with what is possible."""
