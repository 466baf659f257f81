"""Copies of a run's figures in other tools."""
