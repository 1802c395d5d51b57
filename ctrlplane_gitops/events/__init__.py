"""What happened, in past tense."""
