"""What several families share of their networks, one file a pattern."""
