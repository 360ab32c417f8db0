#!/usr/bin/env bash
# The long tests: every fuzz target for FUZZTIME (15 minutes unless told), then
# the tests that have large counts under SLUICE_LONG. Prints one line a part.
#
#   scripts/long.sh                 all of it
#   FUZZTIME=60s scripts/long.sh    shorter
#   ONLY=mkv scripts/long.sh        parts whose name holds a word
set -uo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-15m} only=${ONLY:-} failed=0
log=$(mktemp -d)

part() { # name, then a command
  local name=$1; shift
  case $name in *"$only"*) ;; *) return ;; esac
  local start=$SECONDS out="$log/${name//[^a-zA-Z0-9]/_}"
  if "$@" >"$out" 2>&1; then verdict=ok; else verdict=FAILED failed=1; fi
  # The last line that counts something, or the last line.
  local said; said=$(grep -E 'execs|rounds|cuts|operations|schedules|^ok ' "$out" | tail -1)
  printf '%-58s %-6s %5ds  %s\n' "$name" "$verdict" $((SECONDS - start)) "${said:-$(tail -1 "$out")}"
  [ $verdict = ok ] || tail -40 "$out"
}

for file in $(git ls-files '*_test.go' | xargs grep -lE '^func Fuzz' | sort); do
  package=./$(dirname "$file")
  for target in $(grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | sed 's/func //'); do
    part "fuzz $package $target" nice go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -parallel "${FUZZPROCS:-2}"
  done
done
export SLUICE_LONG=1
for package in $(git ls-files '*_test.go' | xargs grep -lE 'SLUICE_LONG' | xargs -n1 dirname | sort -u); do
  part "long $package" go test "./$package" -count=1 -timeout 6h -v
done
part "cross builds run" bash -c 'make -s cross && scripts/cross-run.sh'
part "soak kvssink" scripts/soak-kvssink.sh "${SOAKMINUTES:-30}"
exit $failed
