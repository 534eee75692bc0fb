"""The method wing: pictures and words in, scores and anomaly maps out.

It has never heard of a dataset on disk, a label, a file layout or a metric. `methods.base` holds the
contract; every file that defines a subclass of `ZeroShotDetector` is a method, named like its file.
"""
