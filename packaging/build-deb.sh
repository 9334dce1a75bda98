#!/bin/sh
# Builds a Debian package of the server and the admin's command: build-deb.sh [FOLDER], the folder for the .deb (default: out).
# VERSION names it (default: from git). BUNDLE is the boot bundle in it ("make bundle"; default: out/boot). The same commit and bundle give
# the same bytes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
out=${1:-$top/out}
bundle=${BUNDLE:-$top/out/boot}
[ -e "$bundle/manifest.json" ] || { echo "$bundle is no boot bundle: 'make bundle' makes one" >&2; exit 1; }
arch=$(dpkg --print-architecture)
version=${VERSION:-$(git -C "$top" log -1 --format='0~%cd.%h' --date=format:%Y%m%d%H%M%S)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
umask 022
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

mkdir -p "$out" "$tree/usr/bin" "$tree/etc/troy" "$tree/DEBIAN"
(cd "$top" && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$tree/usr/bin/troy" ./cmds/troy)
mkdir -p "$tree/usr/share/troy" # what runs inside Windows, and what media are made of
cp -r "$bundle" "$tree/usr/share/troy/boot"
chmod -R u=rwX,go=rX "$tree/usr/share/troy/boot"
(cd "$top" && CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build -trimpath -ldflags='-s -w' -o "$tree/usr/share/troy/troy-gates.exe" ./cmds/troy-gates)
chmod 644 "$tree/usr/share/troy/troy-gates.exe"
install -D -m 644 "$here/windows/golden.ps1" "$tree/usr/share/troy/windows/golden.ps1"
"$tree/usr/bin/troy" docs man "$tree/usr/share/man/man1"
gzip -9n "$tree"/usr/share/man/man1/*.1
for shell in bash:bash-completion/completions/troy zsh:zsh/vendor-completions/_troy fish:fish/vendor_completions.d/troy.fish; do
	to=$tree/usr/share/${shell#*:}
	mkdir -p "${to%/*}"
	"$tree/usr/bin/troy" completion "${shell%%:*}" >"$to"
done
install -D -m 644 "$here/troy.service" "$tree/usr/lib/systemd/system/troy.service"
install -D -m 644 "$here/troy.sysusers" "$tree/usr/lib/sysusers.d/troy.conf"
install -D -m 644 "$here/troy.default" "$tree/etc/default/troy"
install -D -m 644 "$here/lab.yaml.example" "$tree/usr/share/doc/troy/examples/lab.yaml"
mkdir -p "$tree/usr/share/doc/troy"
cat "$top/LICENSE" "$bundle/copyright" >"$tree/usr/share/doc/troy/copyright"
install -m 644 "$top"/docs/*.md "$top"/docs/*.png "$top/docs/lab.schema.json" "$tree/usr/share/doc/troy/"
(cd "$top" && go run ./cmds/troy-sbom --version "$version" --bundle "$bundle" --out "$tree/usr/share/troy/sbom.cdx.json" \
	usr/bin/troy="$tree/usr/bin/troy" usr/share/troy/troy-gates.exe="$tree/usr/share/troy/troy-gates.exe")
sed "s/NEW\./$("$tree/usr/bin/troy" version | sed -n '2s/^speaks //p')./" "$here/preinst" >"$tree/DEBIAN/preinst"
chmod 755 "$tree/DEBIAN/preinst"
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$tree/DEBIAN/$script"; done
echo /etc/default/troy >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: troy
Version: $version
Architecture: $arch
Maintainer: Troy <troy@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Depends: systemd-standalone-sysusers | systemd | systemd-sysusers, tzdata, 7zip-standalone | 7zip, mtools, ntfs-3g, partclone, qemu-utils, wimtools, xorriso
Recommends: bzip2, lz4, lzip, lzop, xz-utils
Description: images for rooms of Windows PCs
 Troy re-images rooms of Windows PCs by moving only the blocks that changed.
 This package holds the admin's command, the server (troy serve), and the boot
 loaders, kernel and initramfs of which troy media makes boot media. The boot
 chain of the machine that it is installed on is never touched.
CONTROL
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
deb="$out/troy_${version}_$arch.deb"
dpkg-deb --root-owner-group -Zzstd -z10 --build "$tree" "$deb" >/dev/null
echo "$deb"
