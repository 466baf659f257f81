"""Runs beside one another: which there are, which belong together, which differ and whether for sure (no torch)."""
