package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A cluster's control plane runs on this computer, beside the machine, which has the node: in emulation it takes two
// fifths of all that a cluster takes, here an eighth of that. What it knows is in etcd's folder, which is saved with the machine.
//
// The node finds the API server at [nodesAPIServer], whatever port of this computer it has. The API server reaches
// the kubelet through a proxy, for the machine's network is within QEMU; and nothing else: there are no webhooks, and no
// ways through it to pods.

// etcdData is the folder in the instance's, and in that of a saved machine, with all that the cluster knows.
const etcdData = "etcd"

// kubeletPort is the kubelet's in the machine, on nodeAddress.
const kubeletPort = 10250

const (
	nodeAddress = "10.0.2.15"
	// nobodysAddress is where the node looks for the API server; see toAPIServer.
	nobodysAddress = "10.0.2.100"
	// gateway leads to 127.0.0.1 of this computer; see "user" in QEMU's manual.
	gateway = "10.0.2.2"
)

// nodesAPIServer is what the node takes for the API server. What it sends there goes to the port of this computer.
var nodesAPIServer = fmt.Sprintf("https://%s:%d", nobodysAddress, apiServerPort)

// toAPIServer is run in the machine to lead the node and its pods to the API server. Connections of before it was saved end nowhere,
// which who has them might notice after minutes only.
func toAPIServer(port int) string {
	return fmt.Sprintf(`/opt/cluster/bin/nft -f - <<-END
	table ip control-plane
	delete table ip control-plane
	table ip control-plane {
		chain output {
			type nat hook output priority -150
			ip daddr %s tcp dport %d dnat to %s:%d
		}
		chain postrouting {
			type nat hook postrouting priority 90
			ip daddr %s ip saddr != 10.0.2.0/24 masquerade
		}
	}
END
ss -K dst 10.0.2.0/24 and sport != :%d >/dev/null
`, nobodysAddress, apiServerPort, gateway, port, gateway, sshdPort)
}

// podsWay is where pods find the API server, in the place of what that would say of itself, which keeps the first port it ever had.
func (i *Instance) podsWay() ([]byte, error) {
	type object = map[string]any
	return json.Marshal(object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata":  object{"name": "kubernetes", "namespace": "default", "labels": object{"kubernetes.io/service-name": "kubernetes"}},
		"endpoints": []object{{"addresses": []string{gateway}}},
		"ports":     []object{{"name": "https", "port": i.APIPort, "protocol": "TCP"}},
	})
}

func (i *Instance) planeLock() string { return filepath.Join(i.dir, "control-plane.lock") }

// startControlPlane starts the cluster's, which lives no longer than the machine. It goes on from what saved holds; "" for nothing.
func (i *Instance) startControlPlane(ctx context.Context, saved string) (err error) {
	if saved != "" {
		if err := os.CopyFS(filepath.Join(i.dir, etcdData), os.DirFS(saved)); err != nil {
			return fmt.Errorf("go on with what the cluster knows: %w", err)
		}
	}
	if i.APIPort, err = freePort(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	mark, err := lockFile(ctx, i.planeLock(), "the control plane runs already")
	if err != nil {
		return err
	}
	defer mark.Close() // The control plane has inherited it, each part of it.
	log, err := os.OpenFile(filepath.Join(i.dir, "control-plane.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the control plane's log: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "control-plane", i.Hardware.Cluster, strconv.Itoa(i.APIPort))
	cmd.Dir, cmd.Stdout, cmd.Stderr = i.dir, log, log
	cmd.ExtraFiles = []*os.File{i.lock, mark}
	launch := start
	if i.Lasting {
		launch = startLasting
	}
	if _, err := launch(cmd); err != nil {
		return err
	}
	i.PlanePID = cmd.Process.Pid
	return nil
}

// endControlPlane has it end, and waits for that.
func (i *Instance) endControlPlane() error {
	if i.PlanePID == 0 {
		return nil
	}
	signal := syscall.SIGTERM
	for end := time.Now().Add(20 * time.Second); locked(i.planeLock()); time.Sleep(10 * time.Millisecond) {
		if err := syscall.Kill(i.PlanePID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the control plane, process %d: %w", i.PlanePID, err)
		}
		switch late := time.Since(end); {
		case late > 10*time.Second:
			return fmt.Errorf("the control plane, process %d, does not end", i.PlanePID)
		case late > 0:
			signal = syscall.SIGKILL
		}
	}
	return nil
}

// freePort returns a port of 127.0.0.1 that nobody listens to.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It takes no time.
	if err != nil {
		return 0, fmt.Errorf("find a port for the API server: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// controlPlaneVerb is the control plane of the machine whose folder is the current one.
func controlPlaneVerb(ctx context.Context, args []string) (int, error) {
	if len(args) != 2 {
		return 2, errors.New("control-plane needs the folder of a cluster and a port")
	}
	dir, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	port, err := strconv.Atoi(args[1])
	if err != nil {
		return 2, fmt.Errorf("the port: %w", err)
	}
	cluster, instance := Cluster{args[0]}, &Instance{dir: dir, APIPort: port}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // Nobody else ends it when the machine ends by itself.
		defer cancel()
		for patience := time.Now().Add(bootTime); !locked(instance.qemuLock()) && time.Now().Before(patience) && sleep(ctx, time.Second); {
		}
		for locked(instance.qemuLock()) && sleep(ctx, time.Second) {
		}
	}()
	stop, err := instance.serveKubelet(ctx)
	if err != nil {
		return 1, err
	}
	defer stop()
	return codeOf(instance.keepControlPlane(ctx, cluster))
}

// sleep waits, and tells whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// keepControlPlane runs the parts until ctx ends; etcd, which is to write down what it knows, to the last.
func (i *Instance) keepControlPlane(ctx context.Context, cluster Cluster) error {
	for _, user := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := i.writeKubeconfig(cluster, user); err != nil {
			return err
		}
	}
	etcd := "unix://" + filepath.Join(i.dir, "etcd.sock")
	peer := "unix://" + filepath.Join(i.dir, "peer.sock")
	pki := func(name string) string { return filepath.Join(cluster.identities(), "pki", name) }
	selector, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
		"egressSelections": []any{map[string]any{"name": "cluster", "connection": map[string]any{
			"proxyProtocol": "HTTPConnect", "transport": map[string]any{"uds": map[string]any{"udsName": i.egressSocket()}},
		}}},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(i.dir, "egress.json"), selector, 0o600); err != nil {
		return fmt.Errorf("describe the way to the node: %w", err)
	}
	parts := [][]string{
		{
			"kube-apiserver", "--etcd-servers=" + etcd, "--endpoint-reconciler-type=none", "--advertise-address=" + gateway, "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(i.APIPort),
			"--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true", "--enable-priority-and-fairness=false",
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--egress-selector-config-file=egress.json",
			"--client-ca-file=" + pki("ca.crt"), "--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
			"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki("service-account.key"), "--service-account-signing-key-file=" + pki("service-account.key"),
		},
		{
			"kube-controller-manager", "--kubeconfig=kube-controller-manager.kubeconfig", "--leader-elect=false", "--secure-port=0",
			"--use-service-account-credentials=true", "--service-account-private-key-file=" + pki("service-account.key"),
			"--root-ca-file=" + pki("ca.crt"), "--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
			"--node-monitor-grace-period=10m",
			"--controllers=*,-cronjob-controller,-horizontal-pod-autoscaler-controller,-resourcequota-controller",
		},
		{"kube-scheduler", "--kubeconfig=kube-scheduler.kubeconfig", "--leader-elect=false", "--secure-port=0"},
	}
	store, endStore := context.WithCancel(context.WithoutCancel(ctx))
	defer endStore()
	stored := make(chan struct{})
	go func() {
		defer close(stored)
		i.keep(store, cluster, syscall.SIGTERM, "etcd", "--data-dir="+etcdData, "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls="+etcd, "--listen-peer-urls="+peer, "--advertise-client-urls=http://localhost:2379") // Nobody asks for them.
	}()
	ended := make(chan struct{})
	for _, part := range parts {
		go func() {
			i.keep(ctx, cluster, syscall.SIGKILL, part[0], part[1:]...)
			ended <- struct{}{}
		}()
	}
	for range parts {
		<-ended
	}
	endStore()
	<-stored
	return nil
}

// keep runs a program of the cluster, again whenever it ends, until ctx does.
func (i *Instance) keep(ctx context.Context, cluster Cluster, end syscall.Signal, name string, args ...string) {
	for {
		err := i.runPart(ctx, exec.CommandContext(ctx, filepath.Join(cluster.programs(), name), args...), end)
		if ctx.Err() != nil {
			return
		}
		say("%s ended: %v", name, err)
		sleep(ctx, time.Second)
	}
}

// runPart runs a part once, with its output in a log named like it.
func (i *Instance) runPart(ctx context.Context, cmd *exec.Cmd, end syscall.Signal) error {
	log, err := os.OpenFile(filepath.Join(i.dir, filepath.Base(cmd.Path)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(end) }
	cmd.WaitDelay = 10 * time.Second
	ended, err := startAttached(cmd)
	if err != nil {
		return err
	}
	return <-ended
}

// egressSocket is where the API server asks for the way to the node.
func (i *Instance) egressSocket() string { return filepath.Join(i.dir, "egress.sock") }

// serveKubelet leads the API server to the kubelet, by the method CONNECT of HTTP, until stop is called.
func (i *Instance) serveKubelet(ctx context.Context) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", i.egressSocket())
	if err != nil {
		return nil, fmt.Errorf("lead the API server to the node: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := i.connectKubelet(w, r); err != nil {
			say("lead the API server to %s: %v", r.Host, err)
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})}
	go server.Serve(listener) //nolint:errcheck // It ends by stop.
	return func() { _ = server.Close() }, nil
}

// connectKubelet connects who asks for it with the kubelet; an error is one of before.
func (i *Instance) connectKubelet(w http.ResponseWriter, r *http.Request) error {
	if want := net.JoinHostPort(nodeAddress, strconv.Itoa(kubeletPort)); r.Method != http.MethodConnect || r.Host != want {
		return fmt.Errorf("only CONNECT %s is known here", want)
	}
	machine, err := openInstance(i.dir) // Its port is known when it runs.
	if err != nil {
		return err
	}
	kubelet, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", machine.KubeletPort))
	if err != nil {
		return err
	}
	caller, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return errors.Join(err, kubelet.Close())
	}
	go func() { // What ends it, on either side, is seen by both; there is nobody else to tell.
		defer kubelet.Close()
		defer caller.Close()
		if _, err := io.WriteString(caller, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			_, _ = io.Copy(caller, kubelet)
			_ = caller.(interface{ CloseWrite() error }).CloseWrite()
		}()
		_, _ = io.Copy(kubelet, buffered)
		_ = kubelet.(*net.TCPConn).CloseWrite()
		<-answered
	}()
	return nil
}

// planeLogs returns the last lines of the control plane's logs.
func (i *Instance) planeLogs() string {
	var out strings.Builder
	for _, name := range []string{"control-plane", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		fmt.Fprintf(&out, "%s:\n%s\n", name, lastLines(filepath.Join(i.dir, name+".log"), 8))
	}
	return out.String()
}
