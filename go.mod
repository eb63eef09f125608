module github.com/zfs-csi/zfs-csi

go 1.25.0
