#!/usr/bin/env bash
# The long tests: every fuzz target for FUZZSECONDS of processor time (15 minutes
# unless told), then the tests that have large counts under SLUICE_LONG. Prints
# one line a part: verdict, seconds on the clock, seconds of processor, count.
#
#   scripts/long.sh                 all of it
#   FUZZSECONDS=60 scripts/long.sh  shorter
#   ONLY=mkv scripts/long.sh        parts whose name holds a word
set -uo pipefail
cd "$(dirname "$0")/.."
fuzzseconds=${FUZZSECONDS:-900} only=${ONLY:-} failed=0
log=$(mktemp -d)

cpu() { # sets spent: seconds of processor that ended children of this shell have used
  times >"$log/times" # not in a pipe: a subshell has no children yet
  spent=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, "[ms]"); n += t[1] * 60 + t[2] } printf "%d", n }' "$log/times")
}

# A target runs until it has had its processor time, however busy the machine is.
# "context deadline exceeded" without an input is Go's own slip at the end of -fuzztime.
fuzz() { # package, target
  local package=$1 target=$2 left=$fuzzseconds begun execs=0 procs=${FUZZPROCS:-2}
  while [ "$left" -gt 0 ]; do
    cpu; begun=$spent
    nice go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$((left / procs + 1))s" -parallel "$procs" >"$log/slice" 2>&1 ||
      { grep -q 'context deadline exceeded' "$log/slice" && ! grep -q 'Failing input' "$log/slice"; } ||
      { cat "$log/slice"; return 1; }
    cpu
    [ "$spent" -gt "$begun" ] || { echo "it used no processor time"; return 1; }
    left=$((left - spent + begun))
    execs=$((execs + $(grep -oE 'execs: [0-9]+' "$log/slice" | tail -1 | tr -dc 0-9)))
  done
  echo "$execs execs"
}

part() { # name, then a command
  local name=$1; shift
  case $name in *"$only"*) ;; *) return ;; esac
  cpu
  local start=$SECONDS used=$spent out="$log/${name//[^a-zA-Z0-9]/_}"
  if "$@" >"$out" 2>&1; then verdict=ok; else verdict=FAILED failed=1; fi
  # The last line that counts something, or the last line.
  local said; said=$(grep -E 'execs|rounds|cuts|operations|schedules|^ok ' "$out" | tail -1)
  cpu
  printf '%-58s %-6s %5ds  cpu %5ds  %s\n' "$name" "$verdict" $((SECONDS - start)) $((spent - used)) "${said:-$(tail -1 "$out")}"
  [ $verdict = ok ] || tail -40 "$out"
}

for file in $(git ls-files '*_test.go' | xargs grep -lE '^func Fuzz' | sort); do
  package=./$(dirname "$file")
  for target in $(grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | sed 's/func //'); do
    part "fuzz $package $target" fuzz "$package" "$target"
  done
done
export SLUICE_LONG=1
for package in $(git ls-files '*_test.go' | xargs grep -lE 'SLUICE_LONG' | xargs -n1 dirname | sort -u); do
  part "long $package" go test "./$package" -count=1 -timeout 6h -v
done
part "cross builds run" bash -c 'make -s cross && scripts/cross-run.sh'
part "soak kvssink" scripts/soak-kvssink.sh "${SOAKMINUTES:-30}"
exit $failed
