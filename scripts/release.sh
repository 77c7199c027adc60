#!/usr/bin/env bash
# Build the project and its plugins, check them, and try them with the lowest versions that they promise to work with.
#
# usage: scripts/release.sh            all of it; the files to upload are then in dist/; nothing is uploaded
#        scripts/release.sh --lowest   only write scripts/lowest.txt anew, from the bounds in pyproject.toml
#
# Needs uv and a network.
set -euo pipefail
cd "$(dirname "$0")/.."
export TF_CPP_MIN_LOG_LEVEL=3
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
lowest=scripts/lowest.txt

if [ "${1:-}" = --lowest ]; then
  uv pip compile --quiet --python-version 3.11 --resolution lowest-direct --extra cpu --no-header --no-annotate \
    --output-file "$lowest" pyproject.toml
  exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plugins=$(find plugins -mindepth 2 -maxdepth 2 -name pyproject.toml -exec dirname {} \; | sort)

step "versions agree"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
grep -q "^__version__ = \"$version\"" cellclf/__init__.py
grep -q "^version: $version$" CITATION.cff
grep -q "^## $version" CHANGELOG.md
if [ "${GITHUB_REF_TYPE:-}" = tag ] && [ "${GITHUB_REF_NAME:-}" != "v$version" ]; then
  echo "the tag is $GITHUB_REF_NAME and the version $version"
  exit 1
fi

step "build $version"
rm -rf dist
uv venv --quiet "$work/tools"
uv pip install --quiet --python "$work/tools/bin/python" build twine
for project in . $plugins; do
  "$work/tools/bin/python" -m build --outdir dist "$project" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
done
"$work/tools/bin/twine" check --strict dist/*

step "what is in the wheel"
"$work/tools/bin/python" - dist/cellclf-"$version"-*.whl <<'PYTHON'
import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
expected = ["cellclf/py.typed", "cellclf/pipeline/recipes/fast.toml"]
expected += ["cellclf/__init__.pyi", "cellclf/pages/templates/base.html.j2", "cellclf/reporting/templates/report.html.j2"]
missing = [name for name in expected if name not in names]
others = [name for name in names if not name.startswith("cellclf")]
sys.exit(f"missing {missing}, should not be there {others}" if missing or others else 0)
PYTHON

step "the lowest versions, Python 3.11"
uv venv --quiet --python 3.11 "$work/lowest"
uv pip install --quiet --python "$work/lowest/bin/python" --constraint "$lowest" "dist/cellclf-$version-py3-none-any.whl[cpu]"
"$work/lowest/bin/python" scripts/smoke.py

step "the newest versions"
uv venv --quiet "$work/newest"
uv pip install --quiet --python "$work/newest/bin/python" "dist/cellclf-$version-py3-none-any.whl[cpu]" dist/cellclf_tinyvgg-*.whl
"$work/newest/bin/python" scripts/smoke.py
"$work/newest/bin/cellclf" plugins | grep -q tinyvgg

step "done; to upload: dist/"
ls -1 dist
