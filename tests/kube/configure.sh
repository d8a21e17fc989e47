# shellcheck shell=bash disable=SC2154
# Writes the configuration of one instance. To be sourced by `up`.

# certificate NAME SUBJECT EXTENSIONS: signed by the instance's own authority.
certificate() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$conf/$1.key"
  openssl req -new -key "$conf/$1.key" -subj "$2" |
    openssl x509 -req -CA "$conf/ca.crt" -CAkey "$conf/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
      -days 3650 -extfile <(echo "$3") -out "$conf/$1.crt" 2>/dev/null
}

write_certificates() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$conf/accounts.key"
  openssl ecparam -name prime256v1 -genkey -noout -out "$conf/ca.key"
  openssl req -x509 -new -key "$conf/ca.key" -subj "/CN=kube-$name" -days 3650 -out "$conf/ca.crt" \
    -addext keyUsage=critical,keyCertSign,digitalSignature
  certificate apiserver /CN=kube-apiserver "subjectAltName=IP:$NODE_IP,IP:${SERVICE_CIDR%.0/16}.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
extendedKeyUsage=serverAuth"
  # For kubectl, for the components and, towards the kubelet, for the API server.
  certificate admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
}

# Everything is in the one file, so that it can be copied.
write_kubeconfig() {
  cat >"$state/kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: $name
contexts: [{name: $name, context: {cluster: $name, user: admin}}]
clusters:
- name: $name
  cluster:
    server: $API_SERVER
    certificate-authority-data: $(base64 -w0 "$conf/ca.crt")
users:
- name: admin
  user:
    client-certificate-data: $(base64 -w0 "$conf/admin.crt")
    client-key-data: $(base64 -w0 "$conf/admin.key")
YAML
}

write_containerd() {
  # An overlay cannot lie on another one, as in a container.
  local snapshotter=overlayfs
  [[ $(stat -f -c %T "$state") != overlayfs ]] || snapshotter=native
  cat >"$conf/containerd.toml" <<TOML
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "mooring.local/pause:1"
  # Lowering oom_score_adj below the own one takes CAP_SYS_RESOURCE, and without
  # it runc dies with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$conf/cni"
TOML
}

# Pods are routed and not bridged: then nothing depends on br_netfilter, and a
# pod has one neighbour instead of all others. The neighbour table of 1,024
# entries is shared by all network namespaces of a machine.
write_cni() {
  mkdir "$conf/cni"
  # Pods know only the routes given here; there is no default one.
  cat >"$conf/cni/10-pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1500,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$POD_CIDR"}]],
            "routes": [{"dst": "$SERVICE_CIDR"}, {"dst": "$NODE_CIDR"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
JSON
}

write_kubelet() {
  local fail=true cgroups='cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []'
  [[ -f /sys/fs/cgroup/cgroup.controllers ]] || fail=false
  cat >"$conf/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE_IP
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: $conf/ca.crt}
authorization: {mode: AlwaysAllow}
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
# The machine's own name servers cannot be reached from here.
resolvConf: ""
containerRuntimeEndpoint: unix://$socket
# No systemd is needed, and a cgroup v1 machine, which the kubelet refuses by
# default, will do.
failCgroupV1: $fail
$cgroups
# This measures the machine's disk, of which this is only a guest.
localStorageCapacityIsolation: false
evictionHard: {memory.available: 50Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
# Images cannot be had again once they are removed.
imageGCHighThresholdPercent: 100
failSwapOn: false
maxPods: 200
# Pods start as fast as the machine can.
kubeAPIQPS: 500
kubeAPIBurst: 1000
eventRecordQPS: 0
serializeImagePulls: false
# Nobody reads these.
volumeStatsAggPeriod: -1s
YAML
}

write_proxy() {
  cat >"$conf/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $POD_CIDR
clientConnection: {kubeconfig: $state/kubeconfig}
bindAddress: $NODE_IP
# The limit belongs to the machine and cannot be set from a network namespace.
conntrack: {maxPerCore: 0}
# A test waits for its Services.
nftables: {minSyncPeriod: 50ms}
YAML
}

write_scheduler() {
  cat >"$conf/scheduler.yaml" <<YAML
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: $state/kubeconfig, qps: 500, burst: 1000}
leaderElection: {leaderElect: false}
podInitialBackoffSeconds: 1
podMaxBackoffSeconds: 2
YAML
}

write_dns() {
  # Other names are refused: there is nobody to ask. Nothing is cached, which is
  # what kubeadm's configuration does for the cluster's own names, too.
  cat >"$conf/Corefile" <<COREFILE
.:53 {
    bind $NODE_IP
    errors
    ready $NODE_IP:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig $state/kubeconfig
        pods insecure
        ttl 5
    }
}
COREFILE
}

# objects: what a new cluster needs besides.
objects() {
  cat <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: mooring.dev/directory
volumeBindingMode: Immediate
reclaimPolicy: Delete
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $DNS_IP
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53, protocol: TCP}
---
# The name server is a process of the node and no pod, so no controller would
# find it.
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {kubernetes.io/service-name: kube-dns}
addressType: IPv4
ports:
- {name: dns, port: 53, protocol: UDP}
- {name: dns-tcp, port: 53, protocol: TCP}
endpoints:
- addresses: [$NODE_IP]
  conditions: {ready: true}
YAML
}

configure() {
  conf=$state/conf
  mkdir -p "$conf" "$state"/{log,volumes}
  write_certificates
  write_kubeconfig
  write_containerd
  write_cni
  write_kubelet
  write_proxy
  write_scheduler
  write_dns
}
