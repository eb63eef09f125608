package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// clusterPatience bounds each wait while a cluster comes up; on an idle computer the
// longest takes a minute.
const clusterPatience = 20 * time.Minute

// startCluster starts Kubernetes on the machine and waits until pods run on it.
func (i *Instance) startCluster(ctx context.Context) error {
	err := i.bringUp(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	journal, journalErr := i.output(ctx, "systemctl --no-pager --failed; journalctl --no-pager --lines=60 --priority=warning; "+
		"for unit in kubelet kube-proxy containerd; do journalctl --no-pager --lines=8 --unit=$unit; done")
	return errors.Join(err, fmt.Errorf("its journal says:\n%s\nand the control plane:\n%s", journal, i.planeLogs()), journalErr)
}

func (i *Instance) bringUp(ctx context.Context) error {
	latest := func() string { return strings.TrimSpace(lastLines(filepath.Join(i.dir, "kubectl.log"), 1)) }
	wait := "--timeout=" + clusterPatience.String()
	const node, pod = "node/" + hostAlias, "pod/warm"
	for _, part := range []struct {
		title string
		work  func(ctx context.Context) error
	}{
		{"start the control plane and containerd", func(ctx context.Context) error {
			images := make(chan error, 1)
			go func() { images <- i.startPart(ctx, "images") }()
			err := i.startControlPlane(ctx, "")
			if err == nil {
				err = i.admit(ctx, clusterPatience)
			}
			return errors.Join(err, <-images)
		}},
		{"start the node", func(ctx context.Context) error {
			if _, err := i.output(ctx, toAPIServer(i.APIPort)); err != nil {
				return err
			}
			if err := i.startPart(ctx, "node"); err != nil {
				return err
			}
			if err := i.applyManifests(ctx); err != nil {
				return err
			}
			return i.kubectlAll(ctx, [][]string{
				{"wait", "--for=create", wait, node},
				{"wait", "--for=condition=Ready", wait, node},
			})
		}},
		{"run its first pods", func(ctx context.Context) error {
			return i.kubectlAll(ctx, [][]string{
				{"wait", "--for=create", wait, "--namespace=default", "serviceaccount/default"},
				{"rollout", "status", wait, "--namespace=kube-system", "deployment/snapshot-controller"},
				// The first one pays for what others find in memory.
				{"run", "warm", "--image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1", "--restart=Never", "--", "true"},
				{"wait", "--for=jsonpath={.status.phase}=Succeeded", wait, pod},
				{"delete", wait, pod},
			})
		}},
	} {
		if err := step(ctx, part.title, latest, part.work); err != nil {
			return err
		}
	}
	return i.startPart(ctx, "rest")
}

// applyManifests makes the objects the cluster begins with. On a busy computer a server that has just
// begun does not answer all of it in time, and what was made is no obstacle to asking again.
func (i *Instance) applyManifests(ctx context.Context) error {
	for deadline := time.Now().Add(clusterPatience); ; {
		err := i.kubectl(ctx, "apply", "--server-side", "--filename="+Cluster{i.Hardware.Cluster}.manifests())
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-i.dead:
			return errMachineEnded
		case <-time.After(5 * time.Second):
		}
	}
}

// kubectlAll runs kubectl with one list of arguments after the other.
func (i *Instance) kubectlAll(ctx context.Context, lists [][]string) error {
	for _, args := range lists {
		if err := i.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// startPart runs a part of the script in the machine.
func (i *Instance) startPart(ctx context.Context, part string) error {
	cmd := i.ssh(ctx, []string{"-T"}, "sh", "-s", part)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(clusterStartText()), &said, &said
	ended, err := start(cmd)
	if err != nil {
		return err
	}
	err = <-ended
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("in the machine, %s of %s: %w: %s", part, clusterStart, err, strings.TrimSpace(said.String()))
	}
	return nil
}
