"""Extracting and applying knowledge."""
