#!/usr/bin/env bash
# kvssink and kvssrc for arm64, on an amd64 Debian: built with Debian's cross
# compiler against arm64 packages that are unpacked into a folder (nothing is
# installed on the machine), packed as a .deb, and run under qemu-user-static:
# gst-inspect-1.0 says the same as here, a pipeline sends to a server, and one
# reads it back.
#
#   scripts/cross-kvssink.sh        build/sluice-gstreamer_VERSION_arm64.deb
set -euo pipefail
cd "$(dirname "$0")/.."
triplet=aarch64-linux-gnu
top=$PWD/build/cross-gst out=$PWD/build/gst-arm64
root=$top/root tools=$top/tools
for tool in apt-get dpkg-deb qemu-aarch64-static make go; do
  command -v $tool >/dev/null || { echo "needs $tool"; exit 1; }
done

# apt of its own, whose architecture is arm64 and whose system is empty.
if [ ! -e "$root/.complete" ]; then
  mkdir -p "$top"/apt/lists/partial "$top"/cache/archives/partial "$root"
  : >"$top/status"
  cat >"$top/apt.conf" <<EOF
Dir::State "$top/apt";
Dir::State::status "$top/status";
Dir::Cache "$top/cache";
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "$(id -un)";
Debug::NoLocking "1";
EOF
  APT_CONFIG=$top/apt.conf apt-get -q update
  APT_CONFIG=$top/apt.conf apt-get -q -y --no-install-recommends --download-only install \
    libgstreamer1.0-dev gstreamer1.0-tools libc6-dev gstreamer1.0-plugins-base gstreamer1.0-plugins-good
  for deb in "$top"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$root"; done
  touch "$root/.complete"
fi

# The compiler of the machine, or one that is unpacked beside it.
gcc=$triplet-gcc strip=$triplet-strip
if ! command -v $gcc >/dev/null; then
  if [ ! -e "$tools/.complete" ]; then
    mkdir -p "$tools/debs"
    (cd "$tools/debs" && apt-get -q download gcc-12-$triplet cpp-12-$triplet binutils-$triplet libbinutils libgcc-12-dev-arm64-cross)
    for deb in "$tools"/debs/*.deb; do dpkg-deb -x "$deb" "$tools"; done
    touch "$tools/.complete"
  fi
  gcc=$triplet-gcc-12
  export PATH=$tools/usr/bin:$PATH
  tools_libs=$tools/usr/lib/$(uname -m)-linux-gnu
fi

export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$root/usr/lib/$triplet/pkgconfig:$root/usr/share/pkgconfig
LD_LIBRARY_PATH=${tools_libs:-} GOARCH=arm64 make --no-print-directory -C gst deb OUT="$out" DEB_ARCH=arm64 \
  CC="$gcc --sysroot=$root" STRIP=$strip PLUGIN_DIR=/usr/lib/$triplet/gstreamer-1.0
unset PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_LIBDIR

work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill $server; wait $server || true; fi; rm -rf "$work"' EXIT
dpkg-deb -x build/sluice-gstreamer_*_arm64.deb "$work/deb"
arm() { # a program of the unpacked system, with the plugin of the package
  GST_PLUGIN_SYSTEM_PATH=$root/usr/lib/$triplet/gstreamer-1.0 GST_PLUGIN_PATH=$work/deb/usr/lib/$triplet/gstreamer-1.0 \
    GST_REGISTRY=$work/registry.bin GST_REGISTRY_FORK=no QEMU_LD_PREFIX=$root \
    timeout 120 qemu-aarch64-static -E LD_LIBRARY_PATH="$root/usr/lib/$triplet:$root/lib/$triplet" "$root/usr/bin/$1" "${@:2}"
}
for element in kvssink kvssrc; do
  arm gst-inspect-1.0 $element >"$work/$element"
  echo "arm64: gst-inspect-1.0 $element shows $(grep -cE '^  [a-z0-9-]+ *: ' "$work/$element") rows"
done
arm gst-inspect-1.0 -b | grep -q 'Total count: 0 blacklisted' || { echo "arm64: blacklisted plugins"; exit 1; }
if command -v gst-inspect-1.0 >/dev/null; then
  make -s kvssink
  for element in kvssink kvssrc; do
    GST_PLUGIN_PATH=build/gst GST_REGISTRY=$work/host.bin gst-inspect-1.0 $element | diff -I Filename - "$work/$element" ||
      { echo "arm64: $element differs from that of this machine"; exit 1; }
  done
  echo "arm64: the same as on this machine"
fi

go build -o "$work/sluice" ./cmd/sluice
"$work/sluice" server --data "$work/data" --listen 127.0.0.1:0 --listen-tls off --debug-listen 127.0.0.1:0 >"$work/log" 2>&1 &
server=$!
for _ in $(seq 100); do
  endpoint=$(grep -oE 'http://127.0.0.1:[0-9]+' "$work/log" | head -1) && break
  sleep 0.2
done
eval "$("$work/sluice" env --data "$work/data" --endpoint-url "$endpoint")"
arm gst-launch-1.0 -q audiotestsrc num-buffers=300 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! \
  tee name=t ! queue ! kvssink stream-name=arm64 t. ! queue ! filesink location="$work/sent"
arm gst-launch-1.0 -q kvssrc stream-name=arm64 start-at=earliest stop-at=now ! filesink location="$work/read"
cmp "$work/sent" "$work/read"
echo "arm64: kvssink sent $(stat -c %s "$work/sent") bytes in $("$work/sluice" fragment list arm64 | tail -n +2 | wc -l) fragments, kvssrc read the same"
ls -l build/sluice-gstreamer_*_arm64.deb
