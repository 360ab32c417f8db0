#!/usr/bin/env bash
# A camera through kvssink for so many minutes (30 unless told), with a restart of
# the server every two: no frame is lost, the pipeline never stops, RSS is flat.
#
#   scripts/soak-kvssink.sh 6
set -euo pipefail
cd "$(dirname "$0")/../gst"
export SLUICE_SOAK_MINUTES=${1:-30}
go test . -run '^TestSoak$' -count=1 -v -timeout $((SLUICE_SOAK_MINUTES + 10))m | grep -v '^=== '
