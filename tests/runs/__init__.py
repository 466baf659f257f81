"""Tests of metamtl.runs."""
