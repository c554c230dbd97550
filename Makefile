# One way to run things. Everything installs what it needs into .venv first.
.DEFAULT_GOAL := check
.PHONY: check

check: ; ruff format --check . && ruff check . && mypy && pytest -q tests/test_layers.py
