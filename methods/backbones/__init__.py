"""Families of encoders. They know nothing of prompts, scores or maps."""
