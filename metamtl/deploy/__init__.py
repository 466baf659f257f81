"""A finished run on a user's own examples: adapted, saved, exported."""
