#!/usr/bin/env bash
# CPU and memory of kvssink beside matroskamux ! filesink, with 30 s of 1080p30 at
# 4 Mbit/s paced by its clock; and how long start-up takes. Wants a server
# (CONTROL_PLANE_URI and keys in the environment), the built plugin, ffmpeg and
# /usr/bin/time.
set -euo pipefail
cd "$(dirname "$0")/.."
export GST_PLUGIN_PATH=${GST_PLUGIN_PATH:-$PWD/build/gst}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
ffmpeg -loglevel error -y -f lavfi -i testsrc2=s=1920x1080:r=30 -t 30 -c:v libx264 -preset ultrafast -pix_fmt yuv420p \
  -b:v 4M -maxrate 4M -bufsize 4M -g 60 -bf 0 "$dir/in.mkv"
source="filesrc location=$dir/in.mkv ! matroskademux ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! identity sync=true"
measure() { # name, sink
  # shellcheck disable=SC2086
  /usr/bin/time -f "$1: %U s user, %S s system, %M KB at most, %e s in all" gst-launch-1.0 -q $source ! $2
}
for i in 1 2 3; do
  measure filesink "matroskamux ! filesink location=$dir/out.mkv"
  measure kvssink "kvssink stream-name=bench-$$-$i"
done
for sink in fakesink "kvssink stream-name=bench-$$-start"; do
  for i in 1 2 3 4 5; do
    /usr/bin/time -f "${sink%% *}, one frame, start to end: %e s" gst-launch-1.0 -q videotestsrc num-buffers=1 ! x264enc ! $sink
  done
done
