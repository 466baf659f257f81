"""What metamtl and its peers cost, side by side in one run."""
