"""Benchmarks, each a command of its own: they print and assert nothing."""

import diffusion  # noqa: F401  # before torch is loaded, as it sets how threads wait
