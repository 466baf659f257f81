"""Tests of metamtl.trackers."""
