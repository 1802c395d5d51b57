"""Tests of ctrlplane_gitops.secrets."""
