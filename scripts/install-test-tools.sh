#!/usr/bin/env bash
# Installs what the tests need beside Go and Node, when it is missing and we are
# root; otherwise says what to install. Debian and Ubuntu.
set -euo pipefail

# program (or file) -> Debian package
needs="
ffmpeg:ffmpeg
gst-launch-1.0:gstreamer1.0-tools
/usr/lib/$(uname -m)-linux-gnu/gstreamer-1.0/libgstx264.so:gstreamer1.0-plugins-ugly
/usr/lib/$(uname -m)-linux-gnu/gstreamer-1.0/libgstlibav.so:gstreamer1.0-libav
/usr/lib/$(uname -m)-linux-gnu/gstreamer-1.0/libgstvideoparsersbad.so:gstreamer1.0-plugins-bad
/usr/lib/$(uname -m)-linux-gnu/gstreamer-1.0/libgstmatroska.so:gstreamer1.0-plugins-good
/usr/lib/$(uname -m)-linux-gnu/gstreamer-1.0/libgstvideotestsrc.so:gstreamer1.0-plugins-base
mkvmerge:mkvtoolnix
/usr/bin/aws:awscli
/usr/lib/python3/dist-packages/boto3:python3-boto3
chromium:chromium
javac:default-jdk-headless
mvn:maven
gcc:gcc
/usr/include/gstreamer-1.0/gst/gst.h:libgstreamer1.0-dev
/usr/include/gstreamer-1.0/gst/base/gstcollectpads.h:libgstreamer1.0-dev
pkg-config:pkg-config
valgrind:valgrind
/usr/lib/python3/dist-packages/gi/__init__.py:python3-gi
/usr/lib/$(uname -m)-linux-gnu/girepository-1.0/Gst-1.0.typelib:gir1.2-gstreamer-1.0
"
missing=()
for pair in $needs; do
  thing=${pair%%:*} package=${pair##*:}
  case $thing in
    /*) [ -e "$thing" ] || missing+=("$package") ;;
    *) command -v "$thing" >/dev/null || missing+=("$package") ;;
  esac
done
if [ ${#missing[@]} -gt 0 ]; then
  packages=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
  if [ "$(id -u)" != 0 ]; then
    echo "The tests need packages that are not here. Install them with:"
    echo "  sudo apt-get install $packages"
    exit 1
  fi
  echo "installing $packages"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq -o Acquire::Retries=5
  # shellcheck disable=SC2086
  apt-get install -y -qq -o Acquire::Retries=5 --no-install-recommends $packages >/dev/null
fi

# The JavaScript parts of the tests, from their lock files.
for dir in compat/js compat/browser compat/console web; do
  if [ -f "$dir/package-lock.json" ] && ! cmp -s "$dir/package-lock.json" "$dir/node_modules/.installed"; then
    echo "npm ci in $dir"
    (cd "$dir" && npm ci --fetch-retries=5 --no-audit --no-fund --loglevel=error && cp package-lock.json node_modules/.installed)
  fi
done
