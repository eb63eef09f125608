package history_test

import (
	"log/slog"

	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// warnings is the log of all drivers, of which the last is told of a history that fails.
var (
	lastWarnings = &zfstest.Log{}
	warnings     = slog.New(slog.NewTextHandler(lastWarnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
)
