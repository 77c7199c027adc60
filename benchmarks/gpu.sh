#!/usr/bin/env bash
# Images a second on a machine with one GPU that has JAX and PyTorch, without TensorFlow, Keras or a network: what is
# missing comes from benchmarks/gpu (gpu_bundle.sh). Rows in order of worth, each printed when it is done.
# usage: benchmarks/gpu.sh [ARGUMENTS of throughput.py]; a small trial: --images 128 --size 24 --sides 32 --epochs 2
# Stops itself after MINUTES=5. PYTHON=python3 is used, WHEELS=FOLDER taken in place of benchmarks/gpu/wheels.
set -uo pipefail
cd "$(dirname "$0")/.."
source benchmarks/gpu_site.sh
seconds=$(awk "BEGIN { print int(60 * ${MINUTES:-5}) }")

run() { # BACKEND, the most seconds that these rows may take, arguments of throughput.py
  local left=$((seconds - SECONDS))
  if [ "$left" -lt 10 ]; then echo "no time left: $1 ${*:3}"; return; fi
  if ! "$python" -c "import $1" 2>/dev/null; then echo "$1 is not installed"; return; fi
  local most=$((left < $2 ? left : $2))
  printf '\n== %s, at most %s s\n' "$1" "$most"
  KERAS_BACKEND=$1 timeout --kill-after 5 "$most" "$python" benchmarks/throughput.py \
    --minutes "$(awk "BEGIN { print ($most - 5) / 60 }")" "${@:3}" || echo "stopped ($?)"
}

run jax 110 --networks mobilenet --sides 96 --precisions float32 --rows bare device naive host "$@"
run torch 60 --networks mobilenet --sides 96 --precisions float32 --rows bare device naive host "$@"
run jax 90 --networks convnexttiny --sides 224 --precisions mixed_bfloat16 --rows bare device "$@"
run torch 60 --networks resnet50 convnexttiny --sides 224 --precisions mixed_bfloat16 --rows bare device "$@"
run jax 90 --networks resnet50 --sides 224 96 --precisions mixed_bfloat16 float32 --rows bare device "$@"
run torch 60 --networks mobilenet resnet50 convnexttiny --sides 96 --precisions mixed_bfloat16 --rows bare device "$@"
printf '\n== done, %s s\n' "$SECONDS"
