package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSocketPath is the longest path of a unix socket; see unix(7).
const maxSocketPath = 107

// listen makes the socket, for this user alone, and its folder if it is not there.
func listen(ctx context.Context, endpoint string) (net.Listener, error) {
	path, err := socketPath(endpoint)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// Set before the socket has a name, so that there is no moment at which others
	// may connect: Linux takes the mode of the file from the socket.
	private := func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmodErr)
	}
	return (&net.ListenConfig{Control: private}).Listen(ctx, "unix", path)
}

// socketPath returns the path that an endpoint names.
func socketPath(endpoint string) (string, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(endpoint, "unix:"), "//")
	switch {
	case path == "" || strings.Contains(path, "://"):
		return "", errors.New("not the path of a unix socket, such as unix:///csi/csi.sock")
	case len(path) > maxSocketPath:
		return "", fmt.Errorf("the path has %d bytes; a unix socket's has at most %d", len(path), maxSocketPath)
	}
	return path, nil
}

// removeStale removes a socket that nobody listens on any more. Anything else that is
// there is an error.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is not a socket is there; remove it or choose another path")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(errors.New("another process serves there; end it or choose another path"), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
