"""The run folder: the truth about a run (no torch)."""
