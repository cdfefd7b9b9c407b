"""Run the capacity simulation: ``python -m benchmarks.capacity``."""

from benchmarks.capacity.plan import main

if __name__ == "__main__":
    main()
