# The body of TestContainer, in a network and mount namespace of its own: builds the container and serves from it as the Containerfile's head says.
# $1 is the folder with the package, $2 an empty folder, $3 a Debian as an archive, $4 the Containerfile.
set -euo pipefail
deb=$1 dir=$2 debian=$3 containerfile=$4
mkdir "$dir/data"
cd "$dir"
# The kernel's way of today, whatever the machine has; and no limits that a machine without CAP_SYS_RESOURCE cannot set.
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
driver=$(grep -qw overlay /proc/filesystems && echo overlay || echo vfs)
podman() { command podman --root "$dir/store" --runroot /run/containers --tmpdir "$dir/tmp" --storage-driver $driver --runtime crun --cgroup-manager cgroupfs --events-backend none "$@"; }
limits="--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --cgroups disabled"
ip link set lo up

# In place of the image that a registry has: a Debian with a source of packages of its own.
podman import -q "$debian" localhost/debian >/dev/null
podman build -q --isolation chroot --build-arg DEBIAN=localhost/debian -t troy -f "$containerfile" "$deb"
run() { podman run --rm $limits --network host -v "$dir/data:/data" "$@"; }
run --user 0 -v "$dir:/out" --entrypoint sh troy -c 'dpkg --status troy | grep -E "^(Status|Version)" && cp -r --parents /usr/share/troy /usr/bin/troy /out'

chown 65532:65532 data
run --entrypoint troy troy init --url https://127.0.0.1:8443 /data/store
cp "${containerfile%/*}/testdata/lab.yaml" data/store/lab.yaml
run --env SOURCE_DATE_EPOCH=1700000000 --read-only --entrypoint troy troy media --store /data/store --out /data/media
run --read-only --entrypoint troy troy vhdx create --size 64M /x.vhdx || echo "create: $?"
podman run --rm --name troy $limits --network host --cap-drop all --cap-add NET_BIND_SERVICE --read-only -v "$dir/data:/data" \
	troy --boot /data/media/net /data/store &
job=$!
for _ in $(seq 100); do
	curl -sf http://127.0.0.1:8080/healthz && break
	sleep 0.2
done
curl -sSf -o got tftp://127.0.0.1/snponly.efi
cmp got data/media/net/snponly.efi
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=pc -keyout pc.key -out pc.crt
pin="sha256//$(openssl pkey -in data/store/serve/tls.key -pubout -outform DER | openssl dgst -sha256 -binary | base64)"
curl -sSfk --http1.1 --cert pc.crt --key pc.key --pinnedpubkey "$pin" --json '{"protocol":5,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]},"firmware":"uefi"}' https://127.0.0.1:8443/v1/checkin
echo
grep -E '^(Uid|CapPrm|CapEff|CapBnd):' "/proc/$(pgrep -x troy --ns $$ --nslist net)/status"
podman exec troy troy hosts --store /data/store
echo "stop: $(podman stop troy)"
wait $job
echo "ended with $?"
