"""The training loop, checkpoints, signals and processes."""
