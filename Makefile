.PHONY: check test all

check:  ## format, lint, import contracts, types: about a minute
	ruff format --check .
	ruff check .
	lint-imports
	mypy

test:  ## the whole test suite, on all cores
	pytest

all: check test
