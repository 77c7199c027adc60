#!/usr/bin/env bash
# The plugin's own gate: a fresh environment with KerasHub and the full TensorFlow, and all of its tests.
# REFERENCE=1 also installs PyTorch, for the comparison with it.
set -euo pipefail
cd "$(dirname "$0")"
export TF_CPP_MIN_LOG_LEVEL=3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet ../.. ".[test${REFERENCE:+,reference}]"
"$work/venv/bin/pip" list 2>/dev/null | grep -i -E '^(cellclf|keras|tensorflow|torch|numpy)'
"$work/venv/bin/cellclf" plugins
"$work/venv/bin/python" -m pytest -q -p no:cacheprovider tests
