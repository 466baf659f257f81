"""Networks from inputs to features, one file a family."""
