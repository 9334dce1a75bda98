# The body of TestContainer, in a network and mount namespace of its own: builds the container and serves from it as the Containerfile's head says.
# $1 is the top of the source, $2 an empty folder, $3 GOROOT, $4 GOMODCACHE, $5 GOCACHE, $6 the boot bundle.
set -euo pipefail
top=$1 dir=$2
mkdir "$dir/data"
cd "$dir"
# The kernel's way of today, whatever the machine has; and no limits that a machine without CAP_SYS_RESOURCE cannot set.
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
podman() { command podman --root "$dir/store" --runroot /run/containers --tmpdir "$dir/tmp" --storage-driver vfs --runtime crun --cgroup-manager cgroupfs --events-backend none "$@"; }
limits="--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --cgroups disabled"
ip link set lo up

# In place of the image with Go that a registry has: this machine's own programs.
printf 'FROM scratch\nENV PATH=/goroot/bin:/usr/bin GOROOT=/goroot GOPATH=/go GOCACHE=/cache GOPROXY=off GOTOOLCHAIN=local\nCOPY base /\n' >Go
mkdir -p base/tmp
touch base/tmp/empty
podman build -q -t localhost/go -f Go .
volumes=
for name in usr bin lib lib64; do volumes="$volumes -v /$name:/$name:ro"; done
podman build -q --isolation chroot --build-arg GO=localhost/go $volumes -v "$3:/goroot:ro" -v "$4:/go/pkg/mod" -v "$5:/cache" --build-context "boot=$6" -t troy -f "$top/packaging/Containerfile" "$top"
podman create --name look $limits --network host troy >/dev/null
echo "files: $(podman export look | tar -t | grep -v -E '^(dev|etc|proc|run|sys|usr/share/troy/boot)(/|$)' | sort | tr '\n' ' ')"
podman export look | tar -x usr/share/troy troy
podman rm look >/dev/null

chown 65532:65532 data
podman run --rm $limits --network host -v "$dir/data:/data" --entrypoint /troy troy init --url https://127.0.0.1:8443 /data/store
cp "$top/packaging/testdata/lab.yaml" data/store/lab.yaml
mkdir data/net
head -c 90000 /dev/urandom >data/net/snponly.efi
podman run --rm --name troy $limits --network host --cap-drop all --cap-add NET_BIND_SERVICE --read-only -v "$dir/data:/data" \
	troy --boot /data/net /data/store &
job=$!
for _ in $(seq 100); do
	curl -sf http://127.0.0.1:8080/healthz && break
	sleep 0.2
done
curl -sSf -o got tftp://127.0.0.1/snponly.efi
cmp got data/net/snponly.efi
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=pc -keyout pc.key -out pc.crt
pin="sha256//$(openssl pkey -in data/store/serve/tls.key -pubout -outform DER | openssl dgst -sha256 -binary | base64)"
curl -sSfk --http1.1 --cert pc.crt --key pc.key --pinnedpubkey "$pin" --json '{"protocol":5,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]},"firmware":"uefi"}' https://127.0.0.1:8443/v1/checkin
echo
grep -E '^(Uid|CapPrm|CapEff|CapBnd):' "/proc/$(pgrep -x troy --ns $$ --nslist net)/status"
podman exec troy /troy hosts --store /data/store
podman exec troy /troy vhdx create --size 64M /x.vhdx || echo "create: $?"
echo "stop: $(podman stop troy)"
wait $job
echo "ended with $?"
