"""What is kept on disk: cells, digests, provenance, what trained weights tell; files written whole."""
