"""Figures for papers, drawn with matplotlib from values alone."""
