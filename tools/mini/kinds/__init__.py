"""What the small models are trained on: kinds of scenes and of defects that no stand-in dataset shows."""

from tools.mini.kinds.pairs import DEFECTS, FAMILIES, TRAINING_KINDS, draw_pair

__all__ = ["DEFECTS", "FAMILIES", "TRAINING_KINDS", "draw_pair"]
