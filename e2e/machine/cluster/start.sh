# Runs in the machine before it is saved, as: sh -s PART. Starts one part of a node of Kubernetes
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
images)
	mkdir -p /opt/cluster
	mount -t ext4 -o ro,noatime /dev/disk/by-label/cluster /opt/cluster
	ln -sf /opt/cluster/bin/* /usr/local/bin/
	echo /opt/cluster/lib >/etc/ld.so.conf.d/cluster.conf
	ldconfig -X
	modprobe -a overlay br_netfilter nf_tables nf_conntrack
	sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 vm.overcommit_memory=1 \
		fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288 kernel.panic=10 kernel.panic_on_oops=1
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
