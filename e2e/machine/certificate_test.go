package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentitiesServeAsThoseOfACluster(t *testing.T) {
	etc := t.TempDir()
	if err := writeIdentities(etc); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(etc, "pki/ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("ca.crt holds no certificate")
	}
	server, err := tls.LoadX509KeyPair(filepath.Join(etc, "pki/apiserver.crt"), filepath.Join(etc, "pki/apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "10.96.0.1", "kubernetes.default.svc"} {
		if _, err := server.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(etc, "kubelet.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
				Key         []byte `json:"client-key-data"`
			}
		}
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	client, err := tls.X509KeyPair(config.Users[0].User.Certificate, config.Users[0].User.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	// The node authorizer knows a kubelet by these two.
	if who := client.Leaf.Subject.String(); who != "CN=system:node:zfs-csi-machine,O=system:nodes" {
		t.Errorf("the kubelet is %s", who)
	}
}

// TestKubeconfigsNameTheirWay: the node finds the API server where it always is, and others at the port that is put in its place.
func TestKubeconfigsNameTheirWay(t *testing.T) {
	dir := t.TempDir()
	if err := writeIdentities(dir); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{
		"kubelet": nodesAPIServer, "kube-proxy": nodesAPIServer, "kube-scheduler": apiServerAddress(apiServerPort), "admin": apiServerAddress(apiServerPort),
	} {
		text, err := os.ReadFile(filepath.Join(dir, user+".kubeconfig"))
		if err != nil || strings.Count(string(text), `"`+want+`"`) != 1 {
			t.Errorf("that of %s: %v, %s", user, err, text)
		}
	}
}
