"""Which cells a run needs, what is cut short, and the typed jobs; without torch."""
