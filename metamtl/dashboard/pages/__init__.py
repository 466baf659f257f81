"""One file a page: the runs that are shown and a view -> blocks."""
