"""One file a peer: each computes the MAML meta-gradient of a problem as its own documentation does it."""
