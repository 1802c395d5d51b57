"""Webhook deliveries, one file per sender: how it signs, and where it says what was pushed."""
