"""Tests of ctrlplane_gitops.events."""
