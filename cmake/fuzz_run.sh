#!/usr/bin/env bash
# Fuzzes one target for ROOMKEY_FUZZ_SECONDS (30), and leaves one line for a table beside what it
# found:  fuzz_run.sh PROGRAM FOUND CORPUS
#
# FOUND/TARGET is where libFuzzer keeps inputs that reach something new: they are read again by the
# next run in this build folder. An input that crashes, leaks, hangs or takes too much memory is
# FOUND/TARGET-crash-… and the like, and the exit status is 1.
set -uo pipefail
program=$1 found=$2 corpus=$3
target=$(basename "$program")
seconds=${ROOMKEY_FUZZ_SECONDS:-30}
log=$found/$target.log

mkdir -p "$found/$target"
rm -f "$found/$target.line"
touch "$log.begun"
# A mutation has 20 s: only what hangs takes that long, even on a machine that is busy.
timeout $((seconds + 120)) "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
    -print_final_stats=1 -artifact_prefix="$found/$target-" "$found/$target" "$corpus" \
    >"$log" 2>&1
status=$?

# The last of libFuzzer's lines with cov: (edges reached), ft: (with how often), corp: (kept).
awk -v target="$target" '
    $2 == "INITED" { for (i = 1; i < NF; i++) if ($i == "cov:") begun = $(i + 1) }
    / cov: / { for (i = 1; i < NF; i++) v[$i] = $(i + 1) }
    /number_of_executed_units/ { runs = $NF }
    /average_exec_per_sec/ { rate = $NF }
    END { printf "%-16s %6d %8d %8d %6s %9d %7d\n", target, begun, v["cov:"], v["ft:"],
                 v["corp:"], runs, rate }' "$log" | sed 's:/[0-9A-Za-z]* : :' >"$found/$target.line"
cat "$found/$target.line"
[ $status -eq 0 ] && exit 0

grep -v -e NEW -e REDUCE -e pulse -e '^"' "$log" | tail -n 60
echo
echo "$target has found something (exit status $status). The input:"
find "$found" -maxdepth 1 -name "$target-*" -newer "$log.begun"
echo "Again: $program FILE. When it is mended, keep the file in $corpus under a name that says what it was."
exit 1
