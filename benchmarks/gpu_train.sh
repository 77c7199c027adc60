#!/usr/bin/env bash
# A whole job on a machine as for gpu.sh: recipe challenge:gpu with EfficientNet-Lite0 and its real weights; prints scores.
# usage: benchmarks/gpu_train.sh [ARGUMENTS of cellclf run]; a small trial: --set trainer.image_size=32
# Stops itself after MINUTES=4, its report included. BACKEND=jax or torch; CELLS=benchmarks/gpu/cells.
set -uo pipefail
cd "$(dirname "$0")/.."
source benchmarks/gpu_site.sh
seconds=$(awk "BEGIN { print int(60 * ${MINUTES:-4}) }")
out=${OUT:-$site}/run
# the budget begins when cellclf does; some seconds are left to it for the end
KERAS_BACKEND=${BACKEND:-jax} timeout --kill-after 5 "$((seconds - SECONDS))" "$python" -m cellclf run \
  "${CELLS:-benchmarks/gpu/cells}" --recipe challenge:gpu --backbone efficientnetlite0 --out "$out" \
  --minutes "$(awk "BEGIN { print ($seconds - $SECONDS - ($seconds > 60 ? 30 : 5)) / 60 }")" "$@" || { echo "stopped ($?)"; exit 1; }
"$python" - "$out" <<'PY'
import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
print(manifest["chosen"], manifest["machine"].get("gpus"))
PY
printf '== done, %s s\n' "$SECONDS"
