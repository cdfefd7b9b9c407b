"""How many GPUs a large community needs, in simulated time."""
