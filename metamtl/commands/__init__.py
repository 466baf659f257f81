"""The verbs: one short file each."""
