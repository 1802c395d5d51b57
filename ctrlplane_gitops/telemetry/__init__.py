"""What replicas use over time: rates from totals, kept in bounded rings. No clock, no thread."""
