# Runs in the machine before it is saved: starts Kubernetes on it and waits until
# pods run. All that it needs is on the second disk, mounted at /opt/cluster.
set -eu
export LC_ALL=C
began=$(date +%s)
say() { # on the console, which the person who waits is shown
	echo "cluster, $(($(date +%s) - began)) s: $*" >/dev/console
}
unit() { # NAME TYPE COMMAND…: a service of systemd; with the type notify it is waited for
	name=$1 type=$2
	shift 2
	systemd-run --quiet --unit="$name" --service-type="$type" --property=Restart=always --property=RestartSec=2 \
		--property=Delegate=yes --property=KillMode=process --property=TimeoutStartSec=300 --property=OOMScoreAdjust=-999 \
		--property=LimitNOFILE=1048576 --property=TasksMax=infinity --setenv=PATH="$PATH" "/opt/cluster/bin/$name" "$@"
}
within() { # SECONDS COMMAND…: repeats the command until it succeeds
	end=$(($(date +%s) + $1))
	shift
	until out=$("$@" 2>&1); do
		[ "$(date +%s)" -lt $end ] || { echo "in vain: $*: $out" >&2; return 1; }
		sleep 0.5
	done
}

mkdir -p /opt/cluster
mount -t ext4 -o ro,noatime /dev/disk/by-label/cluster /opt/cluster
ln -sf /opt/cluster/bin/* /usr/local/bin/
echo /opt/cluster/lib >/etc/ld.so.conf.d/cluster.conf
ldconfig
export PATH=/opt/cluster/bin:$PATH
export KUBECONFIG=/opt/cluster/etc/admin.kubeconfig
etc=/opt/cluster/etc
modprobe -a overlay br_netfilter nf_tables nf_conntrack
sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 \
	fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288 vm.overcommit_memory=1 kernel.panic=10 kernel.panic_on_oops=1

say "containerd and etcd"
unit etcd notify --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn \
	--listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
	--listen-peer-urls=http://127.0.0.1:2380
unit containerd notify --config=$etc/containerd.toml
say "the API server, and the images"
ctr -n k8s.io images import /opt/cluster/images.tar >/run/images.log 2>&1 &
images=$!
unit kube-apiserver notify --etcd-servers=http://127.0.0.1:2379 --advertise-address=10.0.2.15 \
	--service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
	--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
	--client-ca-file=$etc/pki/ca.crt --tls-cert-file=$etc/pki/apiserver.crt --tls-private-key-file=$etc/pki/apiserver.key \
	--kubelet-client-certificate=$etc/pki/apiserver-kubelet-client.crt --kubelet-client-key=$etc/pki/apiserver-kubelet-client.key \
	--service-account-issuer=https://kubernetes.default.svc \
	--service-account-key-file=$etc/pki/service-account.key --service-account-signing-key-file=$etc/pki/service-account.key
say "the controllers"
unit kube-controller-manager exec --kubeconfig=$etc/kube-controller-manager.kubeconfig --leader-elect=false \
	--use-service-account-credentials=true --service-account-private-key-file=$etc/pki/service-account.key \
	--root-ca-file=$etc/pki/ca.crt --cluster-signing-cert-file=$etc/pki/ca.crt --cluster-signing-key-file=$etc/pki/ca.key \
	--bind-address=127.0.0.1
unit kube-scheduler exec --kubeconfig=$etc/kube-scheduler.kubeconfig --leader-elect=false --bind-address=127.0.0.1
within 120 kubectl get --raw=/readyz
kubectl apply --server-side -f /opt/cluster/manifests >/dev/null
wait $images || { cat /run/images.log >&2; exit 1; }
say "the node"
unit kubelet notify --config=$etc/kubelet.yaml --kubeconfig=$etc/kubelet.kubeconfig \
	--node-ip=10.0.2.15 --hostname-override="$(hostname)"
unit kube-proxy exec --config=$etc/kube-proxy.yaml --hostname-override="$(hostname)"
within 240 kubectl get node "$(hostname)"
kubectl wait --for=condition=Ready --timeout=240s "node/$(hostname)" >/dev/null
say "pods"
within 240 kubectl -n default get serviceaccount default
kubectl -n kube-system rollout status --timeout=240s deployment/snapshot-controller >/dev/null
kubectl run warm --image=registry.k8s.io/e2e-test-images/busybox:1.37.0-1 --restart=Never --command -- true >/dev/null
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded --timeout=120s pod/warm >/dev/null
kubectl delete --timeout=120s pod/warm >/dev/null
say "ready"
sync
fstrim / || true
