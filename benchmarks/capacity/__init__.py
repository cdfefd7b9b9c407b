"""The number of GPUs that a large community needs, in simulated time."""
