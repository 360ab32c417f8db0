# An image that brings an RTSP camera into a stream:
#
#   docker build -f deploy/bridge.Dockerfile -t sluice-rtsp .
#   docker run -it sluice-rtsp ACCESS_KEY SECRET_KEY RTSP_URL STREAM_NAME
#
# That leaves the keys and the camera's password in the list of processes of the
# host for a moment, and in docker inspect. This keeps them out of the first:
#
#   docker run -it --env-file camera.env sluice-rtsp STREAM_NAME
#
# with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and SLUICE_RTSP_URL in camera.env.
# AWS_REGION says where; AWS_ENDPOINT_URL points at a Sluice server.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /out/sluice ./cmd/sluice

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/sluice /usr/bin/sluice
COPY deploy/bridge-entry.sh /usr/bin/camera-to-stream
USER 65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/camera-to-stream"]
