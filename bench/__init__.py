"""The bench arranges the three wings; it alone knows them all."""
