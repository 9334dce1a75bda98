#!/bin/sh
# Writes a release: release.sh KEY [FOLDER]. KEY is the id of a GnuPG key that signs; the folder (default: out/release) gets
#   troy_VERSION_amd64.deb, Containerfile (podman build FOLDER makes the container of both), SHA256SUMS, SHA256SUMS.asc
#   troy_VERSION.cdx.json, the bill of materials (CycloneDX), which is in the package as well
#   apt/   a signed repository, to be served as it is; apt/troy.sources is for /etc/apt/sources.list.d, with its address filled in
# The repository has one version: the one that was added last.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
key=${1:?"usage: release.sh KEY [FOLDER]"}
out=${2:-$top/out/release}
mkdir -p "$out/apt/conf"
deb=$("$here/build-deb.sh" "$out")
version=$(dpkg-deb -f "$deb" Version)
dpkg-deb --fsys-tarfile "$deb" | tar -xO ./usr/share/troy/sbom.cdx.json >"$out/troy_$version.cdx.json"
cp "$here/Containerfile" "$out/Containerfile"
cat >"$out/apt/conf/distributions" <<CONF
Origin: Troy
Codename: troy
Architectures: amd64
Components: main
Description: images for rooms of Windows PCs
SignWith: $key
CONF
reprepro --silent --basedir "$out/apt" includedeb troy "$deb"
gpg --batch --yes --armor --export "$key" >"$out/apt/troy.asc"
cat >"$out/apt/troy.sources" <<CONF
Types: deb
URIs: https://ADDRESS/apt
Suites: troy
Components: main
Signed-By: /etc/apt/keyrings/troy.asc
CONF
cd "$out"
sha256sum "${deb##*/}" Containerfile "troy_$version.cdx.json" >SHA256SUMS
gpg --batch --yes --local-user "$key" --armor --detach-sign -o SHA256SUMS.asc SHA256SUMS
echo "$out"
