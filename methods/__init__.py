"""The method wing: pictures and words in, scores and anomaly maps out.

It knows no dataset on disk, no label, no file layout and no metric. `methods.base` holds the
contract, `methods.registry` finds the methods: one a file, named like it.
"""
