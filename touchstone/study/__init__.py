"""Reading and checking: config, schema of a study, claims; without torch."""
