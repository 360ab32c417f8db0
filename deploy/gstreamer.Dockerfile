# An image with GStreamer and kvssink, for one camera:
#
#   docker build -f deploy/gstreamer.Dockerfile -t sluice-gstreamer .
#   docker run -it --network=host --device=/dev/video0 sluice-gstreamer ACCESS_KEY SECRET_KEY /dev/video0 STREAM
#   docker run -it --network=host sluice-gstreamer ACCESS_KEY SECRET_KEY rtsp://camera/stream STREAM
#   docker run -it --network=host --device=/dev/video0 sluice-gstreamer /bin/bash
#
# The service is that of CONTROL_PLANE_URI (-e CONTROL_PLANE_URI=http://host:8470),
# else AWS in AWS_DEFAULT_REGION. Keys may be given as AWS_ACCESS_KEY_ID and
# AWS_SECRET_ACCESS_KEY instead: then SOURCE and STREAM are the only arguments.
FROM golang:1.26-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libgstreamer1.0-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make deb

FROM debian:bookworm-slim
COPY --from=build /src/build/*.deb /tmp/
RUN apt-get update && apt-get install -y --no-install-recommends /tmp/*.deb ca-certificates gstreamer1.0-tools \
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav \
    && rm -rf /var/lib/apt/lists/* /tmp/*.deb && gst-inspect-1.0 kvssink >/dev/null
COPY deploy/gstreamer-entry.sh /usr/local/bin/camera-to-stream
ENTRYPOINT ["/usr/local/bin/camera-to-stream"]
