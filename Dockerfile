# The driver's container image, for amd64 and arm64:
#
#   docker build --build-arg VERSION=v1.2.3 --tag zfs-csi/zfs-csi:v1.2.3 .
#
# `make image` builds it without a registry: it gives another base, and in place of the stage "build" the folder of the binary.

ARG BASE=debian:13-slim

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN ["go", "mod", "download"]
COPY cmd cmd
COPY driver driver
COPY zfs zfs
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=unknown
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-X main.version=$VERSION" -o /zfs-csi ./cmd/zfs-csi

# What the driver starts: the programs of ZFS, which are in contrib, and those of the filesystems that are kept on zvols. A
# host ID, by which ZFS tells nodes apart, is the node's to have.
FROM ${BASE} AS tools
RUN sed -i 's/^Components: main$/Components: main contrib/' /etc/apt/sources.list.d/*.sources \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    zfsutils-linux e2fsprogs xfsprogs util-linux \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /etc/hostid

FROM tools
ARG VERSION=unknown
LABEL org.opencontainers.image.title="zfs-csi" \
      org.opencontainers.image.description="CSI driver for volumes on the ZFS of their node" \
      org.opencontainers.image.source="https://github.com/zfs-csi/zfs-csi" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /zfs-csi /usr/local/bin/zfs-csi
ENTRYPOINT ["/usr/local/bin/zfs-csi"]
CMD ["serve"]
