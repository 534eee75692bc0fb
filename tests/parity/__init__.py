"""A package, so that its test files may bear the names of those in `tests/methods`."""
