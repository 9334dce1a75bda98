# The guest's half of TestService: what an admin does with the package, under systemd as process 1. Each part ends with a line that the test waits for.
set -uo pipefail
store=/var/lib/troy/store
at=http://10.0.2.15:8080
tls=https://10.0.2.15:8443

say() { echo "PROOF: $*"; }
fail() {
	say "failed: $*"
	systemctl status --no-pager -n 0 troy
	journalctl -b --no-pager -n 100
	say "end of the journal"
	systemctl poweroff --force
	sleep 60
}
must() { "$@" >/tmp/out 2>&1 || { code=$?; cat /tmp/out; fail "$* (exit code $code)"; }; }
has() { grep -q -- "$1" /tmp/out || { cat /tmp/out; fail "no $1"; }; }
lacks() { ! grep -q -- "$1" /tmp/out || { cat /tmp/out; fail "there is $1"; }; }
# until_ok waits for what a service does a moment after it was told to.
until_ok() {
	for _ in $(seq 60); do
		if "$@" >/tmp/out 2>&1; then return; fi
		sleep 0.5
	done
	cat /tmp/out
	fail "in vain: $*"
}
as_troy() { runuser -u troy -- troy "$@"; }
pid() { systemctl show -P MainPID troy; }
is_new() { [ "$(pid)" != "$1" ] && [ "$(pid)" != 0 ] && systemctl is-active troy; }
shows() { troy hosts --store $store | grep -q -- "$1"; }

network() {
	ip link set lo up
	ip link set eth0 up
	must ip addr add 10.0.2.15/24 dev eth0
}

install() {
	export DEBIAN_FRONTEND=noninteractive
	must apt-get -q update
	must apt-get -q -y install /proof/one.deb
	must id troy
	[ "$(stat -c %U:%G:%a /var/lib/troy)" = troy:troy:750 ] || fail "$(stat -c %U:%G:%a /var/lib/troy)"
	must troy lab check /etc/troy/lab.yaml
	has '1 rooms, 0 hosts'
	[ "$(systemctl is-active troy)" = inactive ] || fail "it was started"
}

# What docs/server.md tells the admin to do.
prepare() {
	mkdir /tmp/stick
	echo 'correct horse battery' >/tmp/secret
	must troy setup --yes --address 10.0.2.15 --netboot no --login anna --password-file /tmp/secret
	has 'it exists and was kept'
	has 'troy.service answers at https://10.0.2.15:8443'
	[ -z "$(find /var/lib/troy ! -user troy)" ] || fail "not the service's: $(find /var/lib/troy ! -user troy)"
	must systemctl is-active troy
	must systemctl is-enabled troy
	find /var/lib/troy /etc/troy /etc/default -type f -exec sha256sum {} + | grep -v serve/ | sort >/tmp/before
	must troy setup --yes --address 10.0.2.15 --netboot no
	lacks '^  make '
	find /var/lib/troy /etc/troy /etc/default -type f -exec sha256sum {} + | grep -v serve/ | sort >/tmp/after
	must cmp /tmp/before /tmp/after
	must systemctl disable --now troy
	mkdir /tmp/images
	chown troy: /tmp/images
	# Enough to download while the package is upgraded.
	head -c 64M /dev/zero >/tmp/images/base.raw
	head -c 48M /dev/urandom | dd of=/tmp/images/base.raw conv=notrunc status=none
	(cd /tmp/images && must as_troy vhdx convert --to dynamic base.raw base.vhdx && must as_troy vhdx create --parent base.vhdx child.vhdx)
	must troy image import --store $store --no-filter --force-unbootable win11-lab /tmp/images/base.vhdx
	must troy image add --store $store --no-filter --force-unbootable win11-lab /tmp/images/child.vhdx
	cp /proof/lab.yaml /etc/troy/lab.yaml
	mv /var/lib/troy/media/net /var/lib/troy/net
	cp /proof/snponly.efi /var/lib/troy/net/snponly.efi
	must troy certs init --name 10.0.2.15 /var/lib/troy/certs
	cp /var/lib/troy/certs/ca.crt /tmp/ca.crt
	sed -i 's#^TROY_OPTIONS="#&--boot /var/lib/troy/net --certs /var/lib/troy/certs #' /etc/default/troy
}

start() {
	must systemctl enable --now troy
	must curl -sSf $at/healthz # at once: it says itself when it is up
	must systemctl is-active troy
	p=$(pid)
	must cat /proc/$p/status
	id=$(id -u troy)
	for want in "Uid:	$id	$id	$id	$id" "Gid:	$(id -g troy)	" "NoNewPrivs:	1" "Seccomp:	2"; do has "$want"; done
	for set in CapPrm CapEff CapBnd CapAmb; do has "$set:	0000000000000400"; done # CAP_NET_BIND_SERVICE alone
	must ss -Hlntup
	for port in 67 69 4011 8080 8443; do has ":$port .*troy"; done
}

served() {
	must curl -sSf -o /tmp/got tftp://10.0.2.15/snponly.efi
	must cmp /tmp/got /proof/snponly.efi
	must curl -sSf -o /tmp/got $at/boot/snponly.efi
	must cmp /tmp/got /proof/snponly.efi
}

# The service's own view of the files, with the service's user.
confined() {
	nsenter -t "$(pid)" -m -- setpriv --reuid troy --regid troy --clear-groups \
		find / \( -path /proc -o -path /sys \) -prune -o \( -type d -o -type f \) -writable -print >/tmp/out 2>/dev/null
	has '^/var/lib/troy$'
	grep -v -E '^(/var/lib/troy|/tmp|/var/tmp)(/|$)' /tmp/out >/tmp/more
	[ ! -s /tmp/more ] || { cat /tmp/more; fail "more than /var/lib/troy can be written to"; }
}

checkin() {
	must troy promote --store $store --room test win11-lab@2
	must openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=pc -keyout /tmp/pc.key -out /tmp/pc.crt
	pin="sha256//$(openssl pkey -in $store/serve/tls.key -pubout -outform DER | openssl dgst -sha256 -binary | base64)"
	must curl -sSk --http1.1 --cert /tmp/pc.crt --key /tmp/pc.key --pinnedpubkey "$pin" --json '{"protocol":5,"machine":{"ports":[{"mac":"52:54:00:12:34:56"}]},"image":"win11-lab","version":1,"firmware":"uefi"}' $tls/v1/checkin
	has '"want":{"image":"win11-lab","version":2'
	must shows 'test-01 .*win11-lab@1'
	must curl -sSf --cacert /tmp/ca.crt $tls/ # as a browser does
}

killed() {
	p=$(pid)
	kill -9 "$p"
	until_ok is_new "$p"
	until_ok curl -sSf $at/healthz
	must shows 'test-01 .*win11-lab@1'
}

reload() {
	p=$(pid)
	echo '  - {name: test-02, room: test, mac: "52:54:00:12:34:57"}' >>/etc/troy/lab.yaml
	must systemctl reload troy
	until_ok shows test-02
	cp /etc/troy/lab.yaml /tmp/lab.yaml
	echo '  - {name: test-03, room: nowhere' >>/etc/troy/lab.yaml
	must systemctl reload troy
	until_ok sh -c 'journalctl -u troy --no-pager | grep lab.yaml:'
	must shows test-02
	! shows test-03 || fail "a broken lab.yaml came into force"
	cp /tmp/lab.yaml /etc/troy/lab.yaml
	must systemctl reload troy
	[ "$(pid)" = "$p" ] || fail "it was restarted"
}

doctor() {
	must troy doctor --boot /var/lib/troy/net --certs /var/lib/troy/certs $store
	lacks FAULT
	lacks 'nobody can sign in'
	for port in 'tcp 8080' 'tcp 8443' 'udp 69' 'udp 67' 'udp 4011'; do has "$port.*is served by troy"; done
}

timestamp() { troy key list --store $store | grep '^server'; }

# A lab.yaml that is wrong is seen at once, and not tried again and again; a port that somebody has is.
refused() {
	systemctl stop troy
	echo nonsense >>/etc/troy/lab.yaml
	! systemctl start troy || fail "a broken lab.yaml started"
	sleep 3
	[ "$(systemctl is-active troy)" = failed ] || fail "it is $(systemctl is-active troy)"
	cp /tmp/lab.yaml /etc/troy/lab.yaml
	systemd-socket-activate -l 8080 true &
	until_ok sh -c 'ss -Hlnt | grep :8080'
	! systemctl start troy || fail "it started without its port"
	kill $!
	until_ok systemctl is-active troy
	systemctl stop troy
	must troy key rotate --server --store $store # by root, who gives it back
	[ -z "$(find /var/lib/troy ! -user troy)" ] || fail "not the service's: $(find /var/lib/troy ! -user troy)"
	chown root: $store/keys/server.key
	troy doctor $store >/tmp/out
	[ $? = 5 ] || fail "the doctor is content"
	has 'FAULT.*server.key belongs to root, the store to troy'
	must chown -R troy: $store
	must systemctl start troy
}

# Signing while it runs, with the admin's keys on a stick; and the service renews what it can by itself, without them.
signing() {
	must as_troy key list --store $store
	mkdir /tmp/images/stick
	mv $store/keys/admin.key $store/keys/trusted.json /tmp/images/stick
	chown -R troy: /tmp/images/stick
	! as_troy permit downgrade --store $store --disk S1234567 --to win11-lab@1 --until 2099-12-31 || fail "signed without a key"
	must as_troy permit downgrade --store $store --keys /tmp/images/stick --disk S1234567 --to win11-lab@1 --until 2099-12-31
	before=$(timestamp)
	must date -s '+8 days'
	must systemctl restart troy
	renewed() { [ "$(timestamp)" != "$before" ]; }
	until_ok renewed
	must journalctl -u troy --no-pager
	lacks 'was not renewed'
}

# The package is upgraded while a PC downloads, slower than the ten seconds that the service gives it: the download is cut, and the
# PC gets the rest from the new program.
upgrade() {
	p=$(pid)
	cp /etc/troy/lab.yaml /tmp/mine.yaml
	pack=$(find $store -type f -size +8M -not -path '*/serve/*' | head -n 1)
	[ -n "$pack" ] || fail "no large file in the store"
	curl -sS --limit-rate 100k -o /tmp/pack "$at/repo/${pack#$store/}" 2>/tmp/cut &
	job=$!
	until_ok test -s /tmp/pack
	must dpkg -i /proof/two.deb
	! wait $job || fail "the download was not cut, so this shows nothing"
	cat /tmp/cut
	[ "$(stat -c %s /tmp/pack)" -lt "$(stat -c %s "$pack")" ] || fail "all was downloaded"
	must curl -sSf -C - -o /tmp/pack "$at/repo/${pack#$store/}"
	must cmp /tmp/pack "$pack"
	must cmp /tmp/mine.yaml /etc/troy/lab.yaml
	must is_new "$p"
	must curl -sSf $at/healthz
	[ "$(dpkg-query -W -f '${Version}' troy)" = 2 ] || fail "the version is $(dpkg-query -W troy)"
	case $(readlink "/proc/$(pid)/exe") in *deleted*) fail "the old program runs" ;; esac
	must shows 'test-01 .*win11-lab@1'
	must grep -- '--boot' /etc/default/troy
	must systemctl is-enabled troy
}

remove() {
	must dpkg -r troy
	[ "$(systemctl is-active troy)" = inactive ] || fail "it runs: $(systemctl is-active troy)"
	! pgrep -x troy || fail "a troy runs"
	must dpkg -i /proof/two.deb # and back again
	must systemctl enable --now troy
	must curl -sSf $at/healthz
	must shows 'test-01 .*win11-lab@1'
}

purge() {
	must dpkg -P troy
	has 'troy: /var/lib/troy stays'
	has 'troy: /etc/troy stays'
	[ "$(systemctl is-active troy)" = inactive ] || fail "it runs: $(systemctl is-active troy)"
	for path in /etc/default/troy /usr/bin/troy /usr/lib/systemd/system/troy.service /etc/systemd/system/multi-user.target.wants/troy.service; do
		[ ! -e $path ] && [ ! -L $path ] || fail "$path is left"
	done
	for path in $store/store.json /etc/troy/lab.yaml; do [ -e $path ] || fail "$path is gone"; done
	systemctl --no-pager --failed --plain --no-legend >/tmp/out
	lacks troy
}

for part in network install prepare start served confined checkin killed reload doctor refused signing upgrade remove purge; do
	$part
	say "$part: ok"
done
say end
systemctl poweroff
