"""Measurements of speed, each a command of its own. They print; they assert nothing."""
