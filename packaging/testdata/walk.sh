# The server's half of TestFirstWalk: what an admin types on an empty Debian, step by step, until two bare PCs have their Windows.
# Each step ends with a line that the test waits for, and whose time it notes.
set -uo pipefail
store=/var/lib/troy/store

say() { echo "WALK: $*"; }
fail() {
	say "failed: $*"
	systemctl status --no-pager -n 0 troy
	journalctl -b --no-pager -n 100
	say "end of the journal"
	systemctl poweroff --force
	sleep 60
}
must() { "$@" >/tmp/out 2>&1 || { code=$?; cat /tmp/out; fail "$* (exit code $code)"; }; }
export TROY_PASSPHRASE='battery staple horse'
until_ok() {
	for _ in $(seq 1200); do
		if "$@" >/tmp/out 2>&1; then return; fi
		sleep 1
	done
	cat /tmp/out
	fail "in vain: $*"
}

# A server has an address before anybody installs Troy.
network() {
	must ip link set lo up
	must ip link set eth0 up
	must ip addr add 10.77.0.2/24 dev eth0
	for name in troy mcopy xorriso partclone.ntfs wimlib-imagex; do ! command -v $name || fail "$name is there before"; done
	find /boot /etc/grub.d /etc/default 2>/dev/null | sort >/tmp/boot-before
}

install() {
	export DEBIAN_FRONTEND=noninteractive
	must apt-get -q update
	must apt-get -q -y install /proof/troy.deb
	cat /tmp/out | grep -E 'newly installed|Need to get'
	for name in troy mcopy xorriso partclone.ntfs wimlib-imagex; do must command -v $name; done
	find /boot /etc/grub.d /etc/default 2>/dev/null | grep -v /etc/default/troy | sort >/tmp/boot-after
	must cmp /tmp/boot-before /tmp/boot-after
}

setup() {
	mkdir /media/stick
	must mount -t vfat /dev/vdd /media/stick # as root mounts it: nobody else may write
	must troy setup --yes --keys /media/stick/troy-keys --address 10.77.0.2 --netboot proxy --from /proof/windows.raw --image win11-lab
	cat /tmp/out
	[ ! -e $store/keys/admin.key ] || fail "the admin key lies in the store"
	must umount /media/stick
	[ -z "$(find /var/lib/troy ! -user troy)" ] || fail "not the service's: $(find /var/lib/troy ! -user troy)"
	must dd if=/var/lib/troy/media/usb.img of=/dev/vdc bs=1M conv=fsync
}

promote() { must troy promote --yes --store $store --room default win11-lab@1; }

# A PC that nobody knows shows a code; the admin gives it a name.
code() { troy hosts --store $store | grep -o 'code [A-Z0-9]\{4,\}'; }
assign() {
	until_ok code
	must troy assign --store $store --room default "$(cut -d' ' -f2 /tmp/out)" "$1"
}
has_it() { troy hosts --store $store | grep "$1 .*win11-lab@1"; }

for part in network install setup promote; do
	$part
	say "$part: ok"
done
for pc in stick net; do
	assign $pc
	say "$pc assigned: ok"
	until_ok has_it $pc
	say "$pc reported: ok"
done
must mount -t vfat /dev/vdd /media/stick
must troy hosts confirm --yes --store $store --keys /media/stick/troy-keys default
must troy permit wipe --yes --store $store --keys /media/stick/troy-keys stick --until 2099-12-31
must umount /media/stick
[ -z "$(find /var/lib/troy ! -user troy)" ] || fail "not the service's: $(find /var/lib/troy ! -user troy)"
troy hosts --store $store
troy status --store $store
say "signed: ok"
systemctl poweroff
