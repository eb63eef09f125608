package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
)

const serveHelp = `Serves the CSI services Identity, Controller, GroupController and Node on a Unix socket,
which only root can use. It has to run on the node that has the pool, as root, in a mount
namespace whose mounts the kubelet sees. On SIGTERM or SIGINT it takes no new call
and ends when the running ones have.

A parent that is missing, or whose pool is not imported, stops nothing: calls that
need it are answered UNAVAILABLE until it is there. While none is there, /readyz says no, but
/healthz yes, since no restart brings a pool back. With --pool-file it makes or imports the
pool of the last parent itself, as zfs-csi init does. While another process serves one of
the parents on this machine, it waits for that to end, and is well (/healthz) meanwhile.
`

// toolsPatience is how long the start waits for zfs version, which asks no pool.
const toolsPatience = 5 * time.Second

// options are the flags of serve.
type options struct {
	driver.Config
	parents                        datasets
	endpoint, lockDir, httpAddress string
	tools                          zfs.Exec
	pool                           zfs.PoolFile
}

func serve(ctx context.Context, call invocation) error {
	o, err := parseOptions(call)
	if err != nil {
		return err
	}
	started := func() {}
	if o.httpAddress != "" {
		var stop func()
		if started, stop, err = serveHealth(ctx, o.httpAddress, o.endpoint, o.Log); err != nil {
			return err
		}
		defer stop()
	}
	store, err := zfs.NewLocal(zfs.LocalConfig{Driver: o.Name, Parents: o.parents, Runner: &o.tools, Log: o.Log})
	if err != nil {
		return err
	}
	o.Store = store
	d, err := driver.New(o.Config)
	if err != nil {
		return err
	}
	doctor := zfs.Doctor{Runner: o.tools, Root: "/", Patience: toolsPatience}
	for _, found := range doctor.Tools(ctx) {
		if found.Severity != zfs.Fine {
			o.Log.WarnContext(ctx, found.Check+": "+found.Message, "advice", found.Advice)
		}
	}
	locks, err := lockParents(ctx, o.lockDir, o.parents, o.Log)
	if errors.Is(err, context.Canceled) {
		return nil // Stopped while it waited.
	}
	if err != nil {
		return err
	}
	o.tools.Inherited = locks.commands
	o.Log.InfoContext(ctx, "starting", "version", o.Version, "parents", o.parents.String())
	if o.pool.Path != "" {
		ctx, cancel := context.WithCancel(ctx)
		var awaiting sync.WaitGroup
		defer awaiting.Wait()
		defer cancel()
		awaiting.Go(func() { o.awaitPool(ctx) })
	}
	started()
	if err := d.Serve(ctx, o.endpoint); err != nil {
		return err // The end of the process gives the locks back, when the last of its programs has ended.
	}
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	store.Flush(flushing)
	locks.release()
	return nil
}

// flushTimeout is how long a stop waits for what need not be done before the next start.
const flushTimeout = 3 * time.Second

func parseOptions(call invocation) (*options, error) {
	o := &options{}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "" // then --node-id is needed
	}
	var registration driver.Registration
	f := newFlags("serve", serveHelp, call)
	f.StringVar(&o.endpoint, "endpoint", "unix:///run/zfs-csi/csi.sock",
		"the `SOCKET` to serve on, as unix:///path; its folder is made when needed")
	f.driverName(&o.Name)
	f.StringVar(&o.NodeID, "node-id", hostname, "this node's `NAME` in Kubernetes")
	f.parents(&o.parents)
	f.StringVar(&o.lockDir, "lock-dir", "/run/zfs-csi",
		"the `FOLDER` of the locks that keep a second process off the parents; in a container: the node's")
	f.hostRoot(&o.tools.Root)
	f.poolFile(&o.pool, "the last parent")
	f.StringVar(&registration.Dir, "kubelet-registration-dir", "",
		"the kubelet's `FOLDER` of sockets to register plugins by, /var/lib/kubelet/plugins_registry as a rule;\n"+
			"empty: node-driver-registrar registers the driver, or nobody does")
	f.StringVar(&registration.Endpoint, "kubelet-endpoint", "",
		"the `SOCKET` that the kubelet is told, where it sees that of --endpoint at another path")
	f.StringVar(&o.httpAddress, "http-address", "",
		"the `ADDRESS` to serve /healthz and /readyz on over HTTP, such as :9809; empty: they are not served")
	f.BoolVar(&o.ExpandOnNode, "expand-on-node", false,
		"grow volumes on their node alone, when a pod uses them: for a cluster of several\nnodes, where the resizer reaches the controller of one")
	f.Int64Var(&o.MaxVolumes, "max-volumes", 0,
		"the `NUMBER` of volumes that pods of this node may use at the same time, which the scheduler keeps to;\n"+
			"0: as many as they like")
	newLog := f.logs(0)
	f.DurationVar(&o.StopTimeout, "stop-timeout", driver.DefaultStopTimeout,
		"the `TIME` that running calls get to end when the driver stops")
	f.also["endpoint"] = []string{"CSI_ENDPOINT"}
	f.also["node-id"] = []string{"NODE_ID", "KUBE_NODE_NAME"}
	if err := f.parse(0); err != nil {
		return nil, err
	}
	switch {
	case len(o.parents) == 0:
		return nil, f.wrong(errors.New("no --parent is given: name the dataset that holds the volumes (zfs-csi init makes one)"))
	case o.NodeID == "":
		return nil, f.wrong(errors.New("no --node-id is given, and this machine has no host name"))
	case registration.Dir == "" && registration.Endpoint != "":
		return nil, f.wrong(errors.New("--kubelet-endpoint is of no use without --kubelet-registration-dir"))
	}
	if o.pool.Path != "" {
		if err := o.pool.CheckPlaces(); err != nil {
			return nil, f.wrong(err) // No retry could mend it.
		}
	}
	if registration.Dir != "" {
		o.Registration = &registration
	}
	o.Version = buildVersion()
	o.Log = newLog()
	o.tools.Log = o.Log
	return o, nil
}
