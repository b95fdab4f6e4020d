# What the scripts of this folder share: programs, temporary folders, servers on loopback, samples and their ratios.
#
#   $TMP          a folder of this run, removed at its end with every process in it that was noted in PIDS
#   $CACHE        where the peers are installed, outside the repository and kept between runs
#   sample N V    notes one measurement of one round;  compare … prints the ratio of two of them
#   ROUNDS, SECONDS_EACH, CONNECTIONS   how often, how long, how many
#
# Sourced by bash with `set -euo pipefail`. Exit codes: 0 measured, 1 error, 6 what it compares with cannot be had.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
LIB="$ROOT/benches/lib"
CACHE="${PEERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/chancery-peers}"
ROUNDS="${ROUNDS:-5}"
SECONDS_EACH="${SECONDS_EACH:-6}"
CONNECTIONS="${CONNECTIONS:-64}"
CHANCERY="$(realpath -m "${CHANCERY_BIN:-$ROOT/target/release/chancery}")"
RESULTS="${RESULTS:-/dev/null}"

TMP="$(mktemp -d "${TMPDIR:-/tmp}/chancery-bench.XXXXXX")"
SAMPLES="$TMP/samples.tsv"
PIDS=()
: >"$SAMPLES"
# The caller's configuration must not reach the servers under test, which refuse a variable that they do not know.
for name in $(compgen -e CHANCERY_ || true); do unset "$name"; done
export CHANCERY_PASSWORD="only for a bench"

clean_up() {
    local code=$? pid
    trap - EXIT
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$TMP"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }
fail() { printf '\nFAILED: %s\n' "$*" >&2; exit 1; }
missing() { printf '\nNOT MEASURED: %s\n' "$*" >&2; exit 6; }
needs() { command -v "$1" >/dev/null || missing "\`$1\` is not installed (Debian's package $2)"; }

need_chancery() {
    [ -x "$CHANCERY" ] || fail "there is no program at $CHANCERY: run \`cargo build --release\`, or set CHANCERY_BIN"
}

# Which machine, in which state, and which program.
machine() {
    local model
    model="$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1)"
    echo "machine      $(nproc) processors, ${model:-$(uname -m)}, $(free -g | awk '/^Mem/ {print $2}') GB, $(uname -sr)"
    echo "load before  $(cut -d' ' -f1-3 /proc/loadavg) (1, 5, 15 minutes); on a loaded machine figures are smaller and ratios uncertain"
    echo "files        $(df --output=fstype,target "$TMP" | tail -1 | tr -s ' ')"
    echo "chancery     $CHANCERY, sha256 $(sha256sum "$CHANCERY" | cut -c1-16), $("$CHANCERY" --version 2>/dev/null | head -1)"
    echo "repository   $(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown) (the program may be older)"
    echo "rounds       $ROUNDS, one side after the other in each; medians"
}

# A virtual environment with exactly the pinned packages: `venv NAME REQUIREMENTS`, sets PYTHON.
venv() {
    needs python3 python3
    local folder
    folder="$CACHE/$1-$(sha256sum "$2" | cut -c1-12)-py$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    if [ ! -e "$folder/complete" ]; then
        rm -rf "$folder" && mkdir -p "$CACHE"
        python3 -m venv "$folder" || missing "\`python3 -m venv\` failed (Debian's package python3-venv)"
        "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$2" ||
            missing "pip could not install $(grep -v '^[ #]' "$2" | tr -d '\\' | tr -s ' \n' ' ')"
        touch "$folder/complete"
    fi
    PYTHON="$folder/bin/python"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Starts `chancery serve` on a new log: `chancery_start FOLDER [DATABASE-URL]`, sets URL and SERVER_PID.
chancery_start() {
    local home="$1" database=()
    [ $# -lt 2 ] || database=(--db "$2")
    mkdir -p "$home"
    (cd "$home" && "$CHANCERY" init --no-input --environment test --tenant acme --policies "$ROOT/policies" \
        "${database[@]}" >init.log 2>&1) || { cat "$home/init.log" >&2; fail "chancery init"; }
    (cd "$home" && CHANCERY_OPERATOR_LISTEN=127.0.0.1:0 CHANCERY_LOG_FORMAT=json \
        exec "$CHANCERY" serve --dev --listen 127.0.0.1:0 >/dev/null 2>serve.log) &
    SERVER_PID=$!
    PIDS+=("$SERVER_PID")
    local _
    for _ in $(seq 300); do
        URL="$(sed -nE 's/.*"api":"([^"]+)".*/http:\/\/\1/p' "$home/serve.log" | head -1)"
        [ -z "$URL" ] || return 0
        kill -0 "$SERVER_PID" 2>/dev/null || break
        sleep 0.1
    done
    cat "$home/serve.log" >&2
    fail "chancery serve does not listen"
}

# Ends a process of ours and waits for it.
stop() { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }

# Seconds of a processor that a process has used, its threads included.
cpu_seconds() { awk -v tick="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); printf "%.2f", ($12 + $13) / tick}' "/proc/$1/stat"; }

field() { python3 -c 'import json, sys; print(json.loads(sys.argv[2])[sys.argv[1]])' "$1" "$2"; }

sample() { printf '%s\t%s\n' "$1" "$2" >>"$SAMPLES"; printf '  %-46s %12s\n' "$1" "$2"; }

# `compare TITLE OURS THEIRS TARGET`: the medians of two samples, and the median of their ratios round by round.
# TARGET is a number, or - where the pair is for information.
compare() { python3 "$LIB/ratios.py" "$SAMPLES" "$RESULTS" "$@"; }
