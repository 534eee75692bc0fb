"""The dataset wing: folders in, samples out. It knows no model and no metric."""
