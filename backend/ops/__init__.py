"""Verbs on arrays: pure functions of numpy and OpenCV, without files and settings."""
