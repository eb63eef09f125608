package main

import (
	"context"
	"errors"
	"os"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
)

const serveHelp = `Serves the CSI services Identity, Controller and Node on a Unix socket, which only
root can use. It has to run on the node that has the pool, as root, in a mount
namespace whose mounts the kubelet sees. On SIGTERM or SIGINT it takes no new call
and ends when the running ones have.

A parent that is missing, or whose pool is not imported, stops nothing: calls that
need it are answered UNAVAILABLE until it is there. While another process serves one of
the parents on this machine, it waits for that to end.
`

func serve(ctx context.Context, call invocation) error {
	var (
		config   driver.Config
		endpoint string
		lockDir  string
		parents  datasets
	)
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "" // then --node-id is needed
	}
	f := newFlags("serve", serveHelp, call)
	f.StringVar(&endpoint, "endpoint", "unix:///run/zfs-csi/csi.sock",
		"the `SOCKET` to serve on, as unix:///path; its folder is made when needed")
	f.driverName(&config.Name)
	f.StringVar(&config.NodeID, "node-id", hostname, "this node's `NAME` in Kubernetes")
	f.parents(&parents)
	f.StringVar(&lockDir, "lock-dir", "/run/zfs-csi",
		"the `FOLDER` of the locks that keep a second process off the parents; in a container: the node's")
	newLog := f.logs(0)
	f.DurationVar(&config.StopTimeout, "stop-timeout", driver.DefaultStopTimeout,
		"the `TIME` that running calls get to end when the driver stops")
	f.also["endpoint"] = []string{"CSI_ENDPOINT"}
	f.also["node-id"] = []string{"NODE_ID", "KUBE_NODE_NAME"}
	if err := f.parse(0); err != nil {
		return err
	}
	switch {
	case len(parents) == 0:
		return f.wrong(errors.New("no --parent is given: name the dataset that holds the volumes (zfs-csi init makes one)"))
	case config.NodeID == "":
		return f.wrong(errors.New("no --node-id is given, and this machine has no host name"))
	}

	config.Version = buildVersion()
	config.Log = newLog()
	store, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: config.Name, Parents: parents, Runner: zfs.Exec{Log: config.Log}, Log: config.Log,
	})
	if err != nil {
		return err
	}
	config.Store = store
	d, err := driver.New(config)
	if err != nil {
		return err
	}
	release, err := lockParents(ctx, lockDir, parents, config.Log)
	if errors.Is(err, context.Canceled) {
		return nil // Stopped while it waited.
	}
	if err != nil {
		return err
	}
	defer release()
	config.Log.InfoContext(ctx, "starting", "version", config.Version, "parents", parents.String())
	return d.Serve(ctx, endpoint)
}
