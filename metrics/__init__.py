"""The metric wing: scores, maps, labels and masks in, numbers out. It imports nothing else of the suite."""
