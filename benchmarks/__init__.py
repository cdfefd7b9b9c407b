"""Benchmarks, each a command of its own: they print and assert nothing."""
