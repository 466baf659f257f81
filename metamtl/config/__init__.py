"""Composing and checking the configuration, before anything heavy is imported."""
