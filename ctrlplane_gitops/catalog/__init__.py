"""What it means: documents resolved against each other into one desired state."""
