"""The method wing: pictures and words in, scores and anomaly maps out.

It has never heard of a dataset on disk, a label, a file layout or a metric. `methods.base` holds the
contract, `methods.registry` finds the methods: one a file, named like it.
"""
