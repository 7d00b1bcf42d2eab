#!/usr/bin/env bash
# Builds, checks and measures everything that needs an NVIDIA GPU, in under ten minutes, and prints a short table last.
#
#     tests/gpu/run.sh                 an environment of its own, from the package index that pip knows
#     tests/gpu/run.sh --list          the steps, without a GPU
#     tests/gpu/run.sh --pack FOLDER   copy what a run needs there (and WHEELS), and say how large that is
#
# PYTHON=python3.12   makes that environment (3.11 or 3.12)
# GPU_PYTHON=python3  use this environment instead, which has torch for CUDA; nothing is installed into it
# WHEELS=folder       wheels: beside GPU_PYTHON's packages all of them (no network is used), else where pip looks first
# CLIP=clip.mp4       H.264 or H.265; without it a street is rendered in 1080p
# MODEL=model.onnx    a float model of the head yolo_nas with a free batch; the one that ships by default
# TENSORRT=NAME       tensorrt, tensorrt-rtx or none; by default tensorrt-rtx where it runs on the GPU
# OUT=out/gpu         results.md, results.json, bench.json, tests.xml, run.log
# WORK=out/gpu/work   the environment, the clip
# MINUTES=10          what is not begun by then is left out; an environment that has to be fetched does not count
#
# Exit status: 0 all is held; 1 something failed, is not held or was left out for lack of time; 2 there is no GPU, or
# the command is wrong.
set -euo pipefail
self=$(realpath "$0")
cd "$(dirname "$self")/../.."

OUT=${OUT:-out/gpu}
WORK=${WORK:-out/gpu/work}
MODEL=${MODEL:-engines/weights/vedette-n_640x384.onnx}
MINUTES=${MINUTES:-10}

usage() { sed -nE '2,/^set /s/^# ?//p' "$self"; }

fail() {
    echo "$1" >&2
    exit 2
}

# What travels: no weights but those that are run here, no page, no test of what needs no GPU.
packed() {
    git ls-files -z --cached --others --exclude-standard -- . \
        ':!engines/weights/*.pth' ':!engines/weights/*-int8-*' \
        ':!docs' ':!deploy' ':!tests/vedette' ':!tests/system' ':!tests/fuzz' ':!tests/stages'
}

pack() {
    [ -n "${1:-}" ] || fail "--pack: expected a folder to copy to"
    [ -z "$(ls -A "$1" 2>/dev/null)" ] || fail "--pack: $1 is not empty"
    mkdir -p "$1"
    packed | tar --create --null --files-from=- | tar --extract --directory "$1"
    if [ -n "${WHEELS:-}" ]; then
        mkdir -p "$1/wheels"
        cp "$WHEELS"/*.whl "$1/wheels/"
    fi
    echo "$1: $(du --summarize --apparent-size --block-size=KiB "$1" | cut -f1)"
}

case "${1:-}" in
"") ;;
--list)
    printf '%s\n' preflight environment street clip engines tests parity bench summary
    exit 0
    ;;
--pack)
    pack "${2:-}"
    exit 0
    ;;
-h | --help)
    usage
    exit 0
    ;;
*) fail "expected nothing, --list, --pack FOLDER or --help, got $1" ;;
esac

# ── is there anything to do? ─────────────────────────────────────────────────────────────────────────────────────────

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; }

find_python() {
    local python
    for python in ${GPU_PYTHON:-${PYTHON:-python3 python3.12 python3.11}}; do
        if fits "$python"; then
            echo "$python"
            return
        fi
    done
    return 1
}

python=$(find_python) || fail "expected a Python 3.11 or 3.12; give one as PYTHON, or an environment's as GPU_PYTHON"
"$python" tests/gpu/preflight.py || exit 2
[ -n "${GPU_PYTHON:-}" ] || "$python" tests/gpu/preflight.py --driver || exit 2
[ -f "$MODEL" ] || fail "MODEL: there is no $MODEL"
[ -z "${CLIP:-}" ] || [ -f "$CLIP" ] || fail "CLIP: there is no $CLIP"
[ -z "${WHEELS:-}" ] || compgen -G "$WHEELS/*.whl" >/dev/null || fail "WHEELS: there are no wheels in $WHEELS"

mkdir -p "$OUT" "$WORK"
OUT=$(realpath "$OUT") WORK=$(realpath "$WORK") MODEL=$(realpath "$MODEL")
log=$OUT/run.log
steps=$WORK/steps.tsv
: >"$log"
: >"$steps"
rm -f "$OUT"/{results.md,results.json,bench.json,tests.xml} "$WORK"/{engines,parity-*}.json
export CLIP="${CLIP:+$(realpath "$CLIP")}" MODEL
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 XDG_CACHE_HOME="$WORK/cache"

began=$SECONDS
# Seconds until MINUTES are over.
left() { echo $((began + MINUTES * 60 - SECONDS)); }

# step NAME LIMIT_S COMMAND…: run it, at most so long; how it ended is in steps.tsv, what it said in run.log.
step() {
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    if [ "$(left)" -lt 10 ]; then
        printf '%s\tleft out\t0\tno time left\n' "$name" >>"$steps"
        return 0
    fi
    [ "$limit" -le "$(left)" ] || limit=$(left)
    echo "$name …" >&2
    printf '\n== %s: %s\n' "$name" "$*" >>"$log"
    # Interrupted rather than ended: pytest then writes what it has found so far.
    timeout --signal=INT --kill-after=15 "$limit" "$@" >>"$log" 2>&1 || status=$?
    case $status in
    0) printf '%s\tok\t%d\t\n' "$name" $((SECONDS - start)) >>"$steps" ;;
    124 | 137) printf '%s\tfailed\t%d\tcut off after %d s\n' "$name" $((SECONDS - start)) "$limit" >>"$steps" ;;
    *) printf '%s\tfailed\t%d\texit status %d\n' "$name" $((SECONDS - start)) "$status" >>"$steps" ;;
    esac
    return 0
}

ended_well() { grep -q "^$1	ok	" "$steps"; }

left_out() { printf '%s\tleft out\t0\t%s\n' "$1" "$2" >>"$steps"; }

# ── environment ──────────────────────────────────────────────────────────────────────────────────────────────────────

chosen_tensorrt() {
    if [ -n "${TENSORRT:-}" ]; then
        [ "$TENSORRT" = none ] || echo "$TENSORRT"
    else
        if "$python" tests/gpu/preflight.py --tensorrt-rtx; then echo tensorrt-rtx; fi
    fi
}

make_environment() {
    local pip tag
    "$python" -m venv "$WORK/venv"
    pip="$WORK/venv/bin/python -m pip --no-input --disable-pip-version-check --quiet"
    tag=$("$python" -c 'import sys; print("py%d%d" % sys.version_info[:2])')
    grep -vE '^(torch|cuda-|nvidia-|tensorrt)' "constraints/$tag.txt" | cat - constraints/gpu.txt >"$WORK/constraints.txt"
    $pip install --constraint "$WORK/constraints.txt" --upgrade pip
    # shellcheck disable=SC2086  # two words, or none
    $pip install --constraint "$WORK/constraints.txt" ${WHEELS:+--find-links $WHEELS} \
        --editable '.[cpu]' torch cuda-bindings onnx pytest pytest-timeout hypothesis
    if [ -n "$WITH" ]; then
        $pip install "$WITH" || echo "$WITH cannot be installed: it is left out"
    fi
}

given_environment() {
    rm -rf "$WORK/site"
    # Compiled by pip: filterpy's invalid escapes warn when it is, and in the tests a warning is an error.
    "$python" -m pip install --quiet --no-index --no-deps --target "$WORK/site" "$WHEELS"/*.whl
}

if [ -n "${GPU_PYTHON:-}" ]; then
    if [ -n "${WHEELS:-}" ]; then
        export PYTHONPATH="$WORK/site:$PYTHONPATH"
        export -f given_environment
        export python WORK WHEELS
        step environment 120 bash -euo pipefail -c given_environment
    else
        printf 'environment\tok\t0\t%s, as it is\n' "$GPU_PYTHON" >>"$steps"
    fi
else
    export -f make_environment
    export python WORK WHEELS="${WHEELS:-}"
    WITH=$(chosen_tensorrt)
    export WITH
    MINUTES=$((MINUTES + 20)) step environment 1200 bash -euo pipefail -c make_environment
    python=$WORK/venv/bin/python
    began=$SECONDS
fi
if ! ended_well environment || ! "$python" tests/gpu/preflight.py --packages; then
    fail "the environment is not fit for a run: see $log"
fi
vedette=("$python" -m vedette.cli.main)

# ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────────────

rm -rf "$WORK/street"
step street 150 "${vedette[@]}" synth "$WORK/street" --size 1920x1080 --seconds 8 --fps 25 --every 25 --people 12
if [ -z "$CLIP" ]; then
    # As one long film: a decoder that begins anew every second is not what cameras are.
    CLIP=$WORK/clip.mp4
    step clip 60 "$python" -m tests.gpu.repeat_clip "$WORK/street/video.mp4" "$CLIP" 25
fi

step engines 150 "$python" -m tests.gpu.open_engines "$MODEL" "$WORK/engines.json"
step tests 210 "$python" -m pytest -q -p no:cacheprovider -m gpu --junitxml "$OUT/tests.xml" tests/gpu

runs() {
    "$python" -c 'import json, sys; sys.exit(not json.load(open(sys.argv[2]))[sys.argv[1]]["engine"])' \
        "$1" "$WORK/engines.json" 2>/dev/null
}

for backend in torch tensorrt; do
    for precision in fp32 fp16; do
        if runs "$backend"; then
            step "parity $backend $precision" 60 "${vedette[@]}" model parity "$MODEL" "$WORK/street/images" \
                --backend "$backend" --precision "$precision" --json "$WORK/parity-$backend-$precision.json"
        else
            left_out "parity $backend $precision" "$backend does not run here"
        fi
    done
done

rounds=3
[ "$(left)" -ge 260 ] || rounds=2
[ "$(left)" -ge 180 ] || rounds=1
step bench 400 "${vedette[@]}" bench pipeline configs/gpu.yaml --gpu --seconds 4 --rounds $rounds --json "$OUT/bench.json"
rm -f out/gpu/detections.jsonl

# ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────────

"$python" -m tests.gpu.summary --out "$OUT" --work "$WORK" --command "tests/gpu/run.sh" --seconds $((SECONDS - began))
