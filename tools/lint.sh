#!/bin/sh
# Style and types, as CI checks them. `ruff check --fix . && ruff format .` mends what can be mended.
set -e
ruff check .
ruff format --check .
mypy
