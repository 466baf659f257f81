"""Protocol and statistics of held-out episodes."""
