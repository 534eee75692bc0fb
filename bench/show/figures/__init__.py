"""Figures for papers, drawn with matplotlib from values alone: cells, kept maps, the datasets' images."""
