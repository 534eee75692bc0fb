"""Everything that needs no real data: stand-ins, untrained weights, the demo, trials of a method."""
