#!/bin/sh
# Sends a camera to a stream until Ctrl-C:
#
#   camera-to-stream [ACCESS_KEY SECRET_KEY] SOURCE STREAM
#
# SOURCE is an RTSP URL, a V4L2 device such as /dev/video0 that gives raw pictures,
# h264:/dev/video0 for one that encodes itself, or test. Another command, such as
# /bin/bash, is run as it is. DRY_RUN=1 shows the command instead of running it.
set -eu
case ${1:-} in
/bin/* | /usr/bin/* | bash | sh | gst-*) exec "$@" ;;
esac
if [ $# -eq 4 ]; then
  export AWS_ACCESS_KEY_ID="$1" AWS_SECRET_ACCESS_KEY="$2"
  shift 2
fi
if [ $# -ne 2 ]; then
  echo "usage: camera-to-stream [ACCESS_KEY SECRET_KEY] SOURCE STREAM" >&2
  exit 2
fi
source=$1 stream=$2
encode() { # what follows a source of raw pictures
  set -- "$@" ! videoconvert ! video/x-raw,format=I420 ! x264enc bframes=0 key-int-max=45 bitrate="${BITRATE:-500}" tune=zerolatency
  set -- "$@" ! h264parse ! video/x-h264,stream-format=avc,alignment=au
  run "$@"
}
run() {
  set -- gst-launch-1.0 -e "$@" ! kvssink stream-name="$stream" storage-size="${STORAGE_SIZE:-512}"
  if [ -n "${DRY_RUN:-}" ]; then
    echo "$*"
  else
    exec "$@"
  fi
}
case $source in
rtsp://* | rtsps://*) run rtspsrc location="$source" short-header=TRUE ! rtph264depay ! h264parse ! video/x-h264,stream-format=avc,alignment=au ;;
h264:/dev/*) run v4l2src do-timestamp=TRUE device="${source#h264:}" ! h264parse ! video/x-h264,stream-format=avc,alignment=au ;;
/dev/*) encode v4l2src do-timestamp=TRUE device="$source" ;;
test) encode videotestsrc is-live=true ! video/x-raw,width=640,height=480,framerate=30/1 ;;
*)
  echo "camera-to-stream: $source is no source: want rtsp://…, /dev/video0, h264:/dev/video0 or test" >&2
  exit 2
  ;;
esac
