// Package smoke asks of the cluster that KUBECONFIG names what every test on it relies on.
package smoke

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	patience = 3 * time.Minute
	agnhost  = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
	busybox  = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"
)

func connect(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Skip("KUBECONFIG names no cluster: machine run --cluster -- go test ./smoke")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// eventually waits until check returns "", and fails with the last of what it returned instead.
func eventually(t *testing.T, check func(ctx context.Context) (missing string, err error)) {
	t.Helper()
	missing := ""
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, patience, true, func(ctx context.Context) (bool, error) {
		var err error
		missing, err = check(ctx)
		return missing == "", err
	})
	if err != nil {
		t.Fatalf("%v: %s", err, missing)
	}
}

func TestNodeIsReady(t *testing.T) {
	client := connect(t)
	eventually(t, func(ctx context.Context) (string, error) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		if len(nodes.Items) != 1 {
			return fmt.Sprintf("%d nodes, not one", len(nodes.Items)), nil
		}
		for _, condition := range nodes.Items[0].Status.Conditions {
			// A heartbeat from before the machine was saved says nothing of now.
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && time.Since(condition.LastHeartbeatTime.Time) < 6*time.Minute {
				return "", nil
			}
		}
		return fmt.Sprintf("the node's conditions are %v", nodes.Items[0].Status.Conditions), nil
	})
}

func TestSnapshotsAreServed(t *testing.T) {
	client := connect(t)
	for _, group := range []string{"snapshot.storage.k8s.io/v1", "groupsnapshot.storage.k8s.io/v1"} {
		if _, err := client.Discovery().ServerResourcesForGroupVersion(group); err != nil {
			t.Errorf("%s: %v", group, err)
		}
	}
	eventually(t, func(ctx context.Context) (string, error) {
		controller, err := client.AppsV1().Deployments("kube-system").Get(ctx, "snapshot-controller", metav1.GetOptions{})
		if err != nil || controller.Status.ReadyReplicas > 0 {
			return "", err
		}
		return "the snapshot controller is not ready", nil
	})
}

// TestServiceAnswers also shows that pods are created, run, reach the service addresses, and
// that their output can be read.
func TestServiceAnswers(t *testing.T) {
	client := connect(t)
	namespace, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "smoke-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), namespace.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	labels := map[string]string{"app": "server"}
	service, err := client.CoreV1().Services(namespace.Name).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "server"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name, image string, labels map[string]string, args ...string) {
		t.Helper()
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec: corev1.PodSpec{
				RestartPolicy: corev1.RestartPolicyNever,
				Containers:    []corev1.Container{{Name: name, Image: image, Args: args}},
			},
		}
		// The account comes a moment after its namespace.
		eventually(t, func(ctx context.Context) (string, error) {
			_, err := client.CoreV1().Pods(namespace.Name).Create(ctx, pod, metav1.CreateOptions{})
			if err != nil && strings.Contains(err.Error(), "serviceaccount") {
				return err.Error(), nil
			}
			return "", err
		})
	}
	start := time.Now()
	pod("server", agnhost, labels, "netexec", "--http-port=8080")
	get := fmt.Sprintf("until wget -q -T 5 -O - http://%s/hostname 2>/dev/null; do sleep 1; done", service.Spec.ClusterIP)
	pod("client", busybox, nil, "sh", "-c", get)
	eventually(t, func(ctx context.Context) (string, error) {
		client, err := client.CoreV1().Pods(namespace.Name).Get(ctx, "client", metav1.GetOptions{})
		if err != nil || client.Status.Phase == corev1.PodSucceeded {
			return "", err
		}
		return fmt.Sprintf("the client is %s: %v", client.Status.Phase, client.Status.ContainerStatuses), nil
	})
	said, err := client.CoreV1().Pods(namespace.Name).GetLogs("client", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || string(said) != "server" {
		t.Errorf("the service answers %q, %v", said, err)
	}
	t.Logf("two pods ran and talked %.1f s after they were asked for", time.Since(start).Seconds())
}
