package history_test

import (
	"log/slog"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// warnings is the log of all drivers, of which the last is told of a history that fails.
var (
	lastWarnings = &service.Tail{}
	warnings     = slog.New(slog.NewTextHandler(lastWarnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
)
