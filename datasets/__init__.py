"""The dataset wing: folders in, samples out. It has never heard of a model or a metric."""
