"""Losses as functions on tensors, one subject per file."""
