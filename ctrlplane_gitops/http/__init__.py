"""Requests to whoever the specs name: checked addresses, hard limits, no redirect, no proxy."""
