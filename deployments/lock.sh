#!/usr/bin/env bash
# Pins the newest dependencies that pyproject.toml allows, with hashes and without the
# addresses of any index, for every Python from 3.11 on.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(uv pip compile --universal --python-version 3.11 --generate-hashes
  --no-emit-index-url --no-emit-find-links --no-header
  --quiet --upgrade)
"${compile[@]}" --extra ocr --extra sandbox --extra build pyproject.toml -o requirements/run.txt
"${compile[@]}" --extra ocr --extra sandbox --extra build --extra dask --extra text \
  --constraint requirements/run.txt pyproject.toml -o requirements/extras.txt
"${compile[@]}" --extra ocr --extra sandbox --extra build --extra dask --extra text --extra dev \
  --constraint requirements/extras.txt pyproject.toml -o requirements/test.txt
