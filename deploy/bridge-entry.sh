#!/bin/sh
# Brings an RTSP camera into a stream until it is stopped:
#
#   camera-to-stream [[ACCESS_KEY SECRET_KEY] RTSP_URL] STREAM_NAME
#
# What is left out is taken from the environment: AWS_ACCESS_KEY_ID,
# AWS_SECRET_ACCESS_KEY (or whatever else the AWS SDKs read) and SLUICE_RTSP_URL.
# More options go into BRIDGE_OPTIONS, such as "--transport tcp". Another command,
# such as /bin/bash, is run as it is.
set -eu
case ${1:-} in
/* | bash | sh | sluice) exec "$@" ;;
esac
if [ $# -eq 4 ]; then
  export AWS_ACCESS_KEY_ID="$1" AWS_SECRET_ACCESS_KEY="$2"
  shift 2
fi
if [ $# -eq 2 ]; then
  # By the environment, so that the password is not among the arguments.
  export SLUICE_RTSP_URL="$1"
  shift
fi
if [ $# -ne 1 ] || [ -z "${SLUICE_RTSP_URL:-}" ]; then
  echo "usage: camera-to-stream [[ACCESS_KEY SECRET_KEY] RTSP_URL] STREAM_NAME" >&2
  exit 2
fi
# shellcheck disable=SC2086 # several options
exec sluice bridge "$1" --create ${BRIDGE_OPTIONS:-}
