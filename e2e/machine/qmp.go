package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"
)

// monitor speaks QEMU's machine protocol over the instance's control socket.
type monitor struct {
	conn net.Conn
	in   *json.Decoder
}

// answerTime bounds how long QEMU may take for one answer.
const answerTime = 2 * time.Minute

// dialMonitor connects as soon as QEMU listens; dead ends the wait when QEMU ended.
func dialMonitor(ctx context.Context, path string, dead <-chan struct{}) (*monitor, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			m := &monitor{conn: conn, in: json.NewDecoder(conn)}
			var greeting struct{ QMP json.RawMessage }
			if err := m.in.Decode(&greeting); err != nil {
				return nil, errors.Join(fmt.Errorf("read QEMU's greeting: %w", err), conn.Close())
			}
			return m, m.do("qmp_capabilities", nil, nil)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-dead:
			return nil, errMachineEnded
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// do runs one command and fills result, when not nil, with what it returned.
func (m *monitor) do(command string, arguments map[string]any, result any) error {
	if err := m.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return fmt.Errorf("QEMU %s: %w", command, err)
	}
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return fmt.Errorf("QEMU %s: %w", command, err)
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Class, Desc string }
			Event  string
		}
		if err := m.in.Decode(&answer); err != nil {
			return fmt.Errorf("QEMU %s: %w", command, err)
		}
		switch {
		case answer.Event != "":
		case answer.Error != nil:
			return fmt.Errorf("QEMU %s: %s: %s", command, answer.Error.Class, answer.Error.Desc)
		case result != nil:
			return json.Unmarshal(answer.Return, result)
		default:
			return nil
		}
	}
}

func (m *monitor) close() error { return m.conn.Close() }

// mappedRAM makes the state file hold each page at a place of its own, without
// the empty ones, so that it is read back at the speed of the disk.
func (m *monitor) mappedRAM() error {
	return m.do("migrate-set-capabilities", map[string]any{
		"capabilities": []map[string]any{{"capability": "mapped-ram", "state": true}},
	}, nil)
}

// migrated waits for the end of a migration, in either direction.
func (m *monitor) migrated(ctx context.Context) error {
	for {
		var state struct {
			Status string
			Error  string `json:"error-desc"`
		}
		if err := m.do("query-migrate", nil, &state); err != nil {
			return err
		}
		switch state.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("QEMU could not move the machine's state: %s %s", state.Status, state.Error)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// connect plugs the machine's network in or out.
func (m *monitor) connect(in bool) error {
	return m.do("set_link", map[string]any{"name": "net", "up": in}, nil)
}

// sshdPort is sshd's in the machine.
const sshdPort = 22

// forwardedPort asks which port of 127.0.0.1 QEMU was given for a port of the machine.
func (m *monitor) forwardedPort(port int) (int, error) {
	var text string
	if err := m.do("human-monitor-command", map[string]any{"command-line": "info usernet"}, &text); err != nil {
		return 0, err
	}
	found := regexp.MustCompile(fmt.Sprintf(`TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+%d\s`, port)).FindStringSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("QEMU forwards no port to the machine's port %d: %q", port, text)
	}
	return strconv.Atoi(found[1])
}
