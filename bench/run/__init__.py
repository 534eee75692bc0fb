"""From a request to cells: the protocol, the plan, and the run, where the three wings meet."""
