#!/usr/bin/env bash
# Runs the binaries of 'make cross' against a server: version, put and bridge, for
# arm64, armv7 and armv6 under qemu-user-static and for windows/amd64 under wine.
# What the machine lacks is named and left out; darwin is only linked.
#
# Debian: ffmpeg curl qemu-user-static wine64 gcc-mingw-w64-x86-64-win32. The last is
# for a wine before version 9, which has no bcryptprimitives.dll: one is made for it
# that hands random numbers out as advapi32 does.
set -uo pipefail
cd "$(dirname "$0")/.."
dir=${CROSS:-build/cross} failed=0
for tool in ffmpeg curl; do command -v $tool >/dev/null || { echo "needs $tool"; exit 1; }; done
[ -x "$dir/sluice-linux-amd64" ] || { echo "needs make cross"; exit 1; }
work=$(mktemp -d)
host=$dir/sluice-linux-amd64
"$host" server --data "$work/data" --listen 127.0.0.1:0 --listen-tls off --debug-listen 127.0.0.1:0 >"$work/server.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 50); do
  endpoint=$(grep -oE 'http://127.0.0.1:[0-9]+' "$work/server.log" | head -1)
  [ -n "$endpoint" ] && break
  sleep 0.2
done
eval "$("$host" env --data "$work/data" --endpoint-url "$endpoint")"
ffmpeg -v error -y -f lavfi -i testsrc=size=160x120:rate=25:duration=6 -f lavfi -i sine=duration=6 -c:v libx264 -g 25 -pix_fmt yuv420p -c:a aac "$work/film.mp4"

try() { # name, how to run, binary
  local name=$1 runner=$2 binary=$3
  if [ -n "$runner" ] && ! command -v "$runner" >/dev/null; then echo "$name: $runner is not installed: only linked"; return; fi
  local run="$runner $binary"
  $run version >"$work/version" || { echo "$name: version FAILED"; failed=1; return; }
  $run put "put-$name" "$work/film.mp4" --create >"$work/put" || { echo "$name: put FAILED"; failed=1; return; }
  $run bridge --listen 127.0.0.1:0 --debug-listen off --create >"$work/bridge" 2>&1 &
  local bridge=$!
  local address=
  for _ in $(seq 100); do
    address=$(grep -oE 'address=[0-9.:]+' "$work/bridge" | cut -d= -f2)
    [ -n "$address" ] && break
    sleep 0.2
  done
  ffmpeg -v error -re -i "$work/film.mp4" -c copy -rtsp_transport tcp -f rtsp "rtsp://$address/bridge-$name"
  sleep 2
  kill -INT $bridge
  wait $bridge || { echo "$name: bridge FAILED"; cat "$work/bridge"; failed=1; return; }
  local fragments
  fragments=$("$host" fragment list "bridge-$name" | tail -n +2 | wc -l)
  echo "$name: $(cat "$work/version"); put: $(grep -oE '[0-9]+ PERSISTED' "$work/put"); bridge: $fragments fragments"
  [ "$fragments" -gt 3 ] || failed=1
}
windows() {
  export WINEDEBUG=-all WINEPREFIX=$work/wine
  if command -v wine >/dev/null; then
    wine wineboot -i >/dev/null 2>&1
    local system="$WINEPREFIX/drive_c/windows/system32" gcc=x86_64-w64-mingw32-gcc
    if [ ! -e "$system/bcryptprimitives.dll" ]; then
      command -v $gcc >/dev/null || { echo "windows-amd64: this wine lacks bcryptprimitives.dll and $gcc is not installed: only linked"; return; }
      printf 'LIBRARY bcryptprimitives.dll\nEXPORTS\n  ProcessPrng=advapi32.SystemFunction036\n' >"$work/prng.def"
      $gcc -shared -nostdlib -Wl,-e,0 -o "$system/bcryptprimitives.dll" "$work/prng.def" || { failed=1; return; }
    fi
  fi
  try windows-amd64 wine "$dir/sluice-windows-amd64.exe"
  command -v wineserver >/dev/null && wineserver -k
}

try linux-amd64 "" "$host"
try linux-arm64 qemu-aarch64-static "$dir/sluice-linux-arm64"
try linux-armv7 qemu-arm-static "$dir/sluice-linux-armv7"
try linux-armv6 qemu-arm-static "$dir/sluice-linux-armv6"
windows
exit $failed
