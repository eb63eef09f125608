package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the certificates of one cluster.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// certificateLife is longer than any cluster stays in the cache folder.
const certificateLife = 20 * 365 * 24 * time.Hour

// newAuthority makes an authority with a key of its own.
func newAuthority() (authority, error) {
	ca := authority{certificate: &x509.Certificate{
		Subject: pkix.Name{CommonName: "zfs-csi-cluster"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}}
	var err error
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return authority{}, fmt.Errorf("make the cluster's key: %w", err)
	}
	if ca.pem, err = ca.sign(ca.certificate, ca.key); err != nil {
		return authority{}, err
	}
	block, _ := pem.Decode(ca.pem)
	ca.certificate, err = x509.ParseCertificate(block.Bytes)
	return ca, err
}

// sign returns the certificate for a key, signed by the authority.
func (a authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-24 * time.Hour) // the machine's clock may be a little behind
	template.NotAfter = template.NotBefore.Add(certificateLife)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// issue makes a key and a certificate that tells who its holder is: a client, and with
// hosts, which are names and addresses, a server too.
func (a authority) issue(name, group string, hosts ...string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the key of %s: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if group != "" {
		template.Subject.Organization = []string{group}
	}
	for _, host := range hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if certificate, err = a.sign(template, private); err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(private)
	return certificate, key, err
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// clusterUsers are the holders of a kubeconfig: its file's name to who they are.
var clusterUsers = map[string]struct{ name, group string }{
	"admin":                   {"admin", "system:masters"},
	"kube-controller-manager": {"system:kube-controller-manager", ""},
	"kube-scheduler":          {"system:kube-scheduler", ""},
	"kube-proxy":              {"system:kube-proxy", ""},
	"kubelet":                 {"system:node:" + hostAlias, "system:nodes"},
}

// serverNames are those under which the API server is reached: on this computer, by the node, and by pods, which begin with the
// first address of the services.
var serverNames = []string{"127.0.0.1", "localhost", nobodysAddress, gateway, "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}

// apiServerPort is the API server's to the node. On this computer it has another each time, which writeKubeconfig puts in its
// place: so an address with it stands nowhere else.
const apiServerPort = 6443

func apiServerAddress(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// writeIdentities writes all certificates, keys and kubeconfigs of a new cluster below etc.
func writeIdentities(etc string) error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	caKey, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	_, accounts, err := ca.issue("service accounts", "")
	if err != nil {
		return err
	}
	files := map[string][]byte{"pki/ca.crt": ca.pem, "pki/ca.key": caKey, "pki/service-account.key": accounts}
	if files["pki/apiserver.crt"], files["pki/apiserver.key"], err = ca.issue("kube-apiserver", "", serverNames...); err != nil {
		return err
	}
	if files["pki/apiserver-kubelet-client.crt"], files["pki/apiserver-kubelet-client.key"], err = ca.issue("kube-apiserver-kubelet-client", "system:masters"); err != nil {
		return err
	}
	for file, user := range clusterUsers {
		certificate, key, err := ca.issue(user.name, user.group)
		if err != nil {
			return err
		}
		server := apiServerAddress(apiServerPort)
		if file == "kubelet" || file == "kube-proxy" {
			server = nodesAPIServer
		}
		if files[file+".kubeconfig"], err = kubeconfig(server, ca.pem, certificate, key); err != nil {
			return err
		}
	}
	for name, data := range files {
		path := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("keep the cluster's certificates: %w", err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return fmt.Errorf("keep the cluster's certificates: %w", err)
		}
	}
	return nil
}

// kubeconfig describes how to reach the cluster as the holder of a key.
func kubeconfig(server string, ca, certificate, key []byte) ([]byte, error) {
	const name = "zfs-csi"
	type object = map[string]any
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []object{{"name": name, "cluster": object{"server": server, "certificate-authority-data": ca}}},
		"users":           []object{{"name": name, "user": object{"client-certificate-data": certificate, "client-key-data": key}}},
		"contexts":        []object{{"name": name, "context": object{"cluster": name, "user": name}}},
		"current-context": name,
	})
	return out.Bytes(), err
}
