"""Runs looked at in a browser, live or as one file: pages made of run folders alone (no torch)."""
