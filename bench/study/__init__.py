"""Studies of several plans: training, the cross-dataset matrix, comparisons of two methods."""
