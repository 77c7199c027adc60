# Sourced by gpu.sh and gpu_train.sh: brings the wheels of benchmarks/gpu onto the path, for a time.
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
wheels=${WHEELS:-benchmarks/gpu/wheels}
if compgen -G "$wheels/*.whl" >/dev/null; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl || exit 1
else
  echo "no wheels in $wheels: what is installed is used"
fi
export PYTHONPATH="$PWD:$site" PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
