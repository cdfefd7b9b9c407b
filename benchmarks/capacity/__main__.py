"""Run the capacity simulation: ``python -m benchmarks.capacity``."""

import sys

from benchmarks.capacity.plan import main

if __name__ == "__main__":
    sys.exit(main())
