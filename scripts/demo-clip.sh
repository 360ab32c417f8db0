#!/usr/bin/env bash
# Makes internal/demo/clip.mkv, the recording that the demo camera plays in a
# loop. Needs ffmpeg; its result is committed, so nobody else needs it.
#
# 256 frames at 25 a second and 480 packets of AAC at 48 kHz are both 10.24 s
# long, so the loop has no seam. The top row holds the frame's number in the clip
# as ten blocks, white for 1, the lowest bit on the left: tests read it from the
# picture. Each second begins with a white square and a beep.
set -euo pipefail
cd "$(dirname "$0")/../internal/demo"
bits=""
for i in 0 1 2 3 4 5 6 7 8 9; do
  bits="$bits,drawbox=x=$((i * 32)):y=0:w=32:h=32:color=black:t=fill,drawbox=x=$((i * 32)):y=0:w=32:h=32:color=white:t=fill:enable='mod(floor(n/$((1 << i))),2)'"
done
ffmpeg -y -loglevel error -fflags +bitexact \
  -f lavfi -i "gradients=s=640x360:r=25:c0=0x0b3954:c1=0x087e8b:c2=0xbfd7ea:c3=0xff5a5f:n=4:speed=0.02:seed=7,format=yuv420p" \
  -f lavfi -i "testsrc2=s=256x144:r=25" \
  -f lavfi -i "aevalsrc='0.25*sin(2*PI*880*t)*lt(mod(t,1),0.06)':s=48000:c=mono" \
  -filter_complex "[0:v][1:v]overlay=x='192+160*sin(2*PI*t/10.24)':y='128+40*cos(4*PI*t/10.24)'[a];[a]format=yuv420p$bits,drawbox=x=592:y=0:w=48:h=48:color=white:t=fill:enable='lt(mod(t,1),0.06)'[v]" \
  -map "[v]" -map 2:a -t 10.24 \
  -c:v libx264 -profile:v high -preset veryslow -b:v 480k -maxrate 700k -bufsize 700k -g 32 -keyint_min 32 -sc_threshold 0 -bf 0 -pix_fmt yuv420p \
  -c:a aac -b:a 48k -flags +bitexact -cluster_time_limit 1280 clip.mkv
ls -l clip.mkv
