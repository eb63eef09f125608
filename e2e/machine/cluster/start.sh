# Runs in the machine before it is saved, as: sh -s PART. Starts one part of Kubernetes
# on it; whoever calls waits in between until what was started is ready, at the full
# speed of his computer: here each call of kubectl would take seconds. All that it needs
# is on the second disk, mounted at /opt/cluster.
set -eu
export LC_ALL=C
export PATH=/opt/cluster/bin:$PATH
etc=/opt/cluster/etc
# On a busy computer the machine may stand still for half a minute. Nobody here is to take that for an outage: who connects anew,
# lists everything anew, and all that takes from what there was too little of. Of memory there is enough: garbage is collected less often.
unit() { # NAME TYPE ARGUMENTS…: a service of systemd; one of type notify is waited for
	name=$1 type=$2
	shift 2
	echo "start $name" >/dev/console
	systemd-run --quiet --unit="$name" --service-type="$type" --property=Restart=always --property=RestartSec=2 \
		--property=Delegate=yes --property=KillMode=process --property=TimeoutStartSec=600 --property=OOMScoreAdjust=-999 \
		--property=LimitNOFILE=1048576 --property=TasksMax=infinity --setenv=PATH="$PATH" \
		--setenv=GOGC=300 --setenv=HTTP2_READ_IDLE_TIMEOUT_SECONDS=120 --setenv=HTTP2_PING_TIMEOUT_SECONDS=240 "/opt/cluster/bin/$name" "$@"
}

case $1 in
control-plane)
	mkdir -p /opt/cluster
	mount -t ext4 -o ro,noatime /dev/disk/by-label/cluster /opt/cluster
	ln -sf /opt/cluster/bin/* /usr/local/bin/
	echo /opt/cluster/lib >/etc/ld.so.conf.d/cluster.conf
	ldconfig -X
	modprobe -a overlay br_netfilter nf_tables nf_conntrack
	sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 vm.overcommit_memory=1 \
		fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288 kernel.panic=10 kernel.panic_on_oops=1
	unit etcd notify --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn \
		--listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
		--listen-peer-urls=http://127.0.0.1:2380 --heartbeat-interval=1000 --election-timeout=30000
	unit kube-apiserver notify --etcd-servers=http://127.0.0.1:2379 --advertise-address=10.0.2.15 \
		--service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true --enable-priority-and-fairness=false \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
		--client-ca-file=$etc/pki/ca.crt --tls-cert-file=$etc/pki/apiserver.crt --tls-private-key-file=$etc/pki/apiserver.key \
		--kubelet-client-certificate=$etc/pki/apiserver-kubelet-client.crt --kubelet-client-key=$etc/pki/apiserver-kubelet-client.key \
		--service-account-issuer=https://kubernetes.default.svc \
		--service-account-key-file=$etc/pki/service-account.key --service-account-signing-key-file=$etc/pki/service-account.key
	;;
images)
	# They are unpacked already; what is large of them stays on the other disk.
	cp -a /opt/cluster/containerd /var/lib/
	layers=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots
	blobs=/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256
	mkdir -p "$layers" "$blobs"
	ln -s /opt/cluster/layers/* "$layers"/
	ln -s /opt/cluster/blobs/sha256/* "$blobs"/
	unit containerd notify --config=$etc/containerd.toml
	[ "$(ctr -n k8s.io images list -q | wc -l)" -gt 0 ]
	;;
node)
	unit kube-controller-manager exec --kubeconfig=$etc/kube-controller-manager.kubeconfig --leader-elect=false \
		--use-service-account-credentials=true --service-account-private-key-file=$etc/pki/service-account.key \
		--root-ca-file=$etc/pki/ca.crt --cluster-signing-cert-file=$etc/pki/ca.crt --cluster-signing-key-file=$etc/pki/ca.key \
		--bind-address=127.0.0.1 --node-monitor-grace-period=10m \
		--controllers='*,-cronjob-controller,-horizontal-pod-autoscaler-controller,-resourcequota-controller'
	unit kube-scheduler exec --kubeconfig=$etc/kube-scheduler.kubeconfig --leader-elect=false --bind-address=127.0.0.1
	unit kubelet exec --config=$etc/kubelet.yaml --kubeconfig=$etc/kubelet.kubeconfig \
		--node-ip=10.0.2.15 --hostname-override="$(hostname)" --housekeeping-interval=60s --node-status-update-frequency=60s
	unit kube-proxy exec --config=$etc/kube-proxy.yaml --hostname-override="$(hostname)"
	;;
rest)
	# The files that were read stay in the saved memory: the next pods need them too.
	sync
	fstrim / || true
	;;
esac
