"""Tables of published results, run row by row within a budget of time."""
