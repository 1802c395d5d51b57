"""What would change, decided without touching anything."""
