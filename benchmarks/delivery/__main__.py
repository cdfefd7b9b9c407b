"""``python -m benchmarks.delivery``."""

from benchmarks.delivery.run import main

if __name__ == "__main__":
    main()
