# Troy: `make demo` shows the main job, `make test` checks everything; both set up a fresh Debian machine themselves.
# On another distribution give KERNEL=vmlinuz and MODULES=lib/modules/VERSION of a 6.6 or newer kernel, and the programs of DEBS.
CACHE   := $(CURDIR)/.cache
KERNEL  ?= $(CACHE)/kernel/vmlinuz
MODULES ?= $(CACHE)/kernel/modules
TROY_SAMPLES ?= $(abspath ../shared/samples)
TROY_CACHE := $(CACHE)
export KERNEL MODULES TROY_SAMPLES TROY_CACHE
export CGO_ENABLED := 0
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

DEBS := qemu-system-x86 qemu-utils ovmf ipxe-qemu ntfs-3g 7zip libhivex-bin gdisk mtools dosfstools fdisk xorriso \
        dnsmasq-base iproute2 rsync xdelta3 systemd-boot-efi binutils zstd xz-utils bzip2 curl kmod ca-certificates chromium fonts-dejavu-core systemd openssl
SOAK_DEBS := mmdebstrap e2fsprogs podman crun procps # a Debian with systemd, and a container, for the tests of packaging
MISSING = $(shell for p in $(DEBS); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done; command -v npm >/dev/null || echo npm)
KERNEL_DEB = $$(apt-cache depends linux-image-6.12-amd64 linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-6.12/{print $$2; exit}')

# Windows programs and their next release: the content of the disks that the demo and the tests deploy.
NEW := @esbuild/win32-x64@0.28.2 @swc/core-win32-x64-msvc@1.16.18 @rollup/rollup-win32-x64-msvc@4.67.4
OLD := @esbuild/win32-x64@0.28.1 @swc/core-win32-x64-msvc@1.16.17 @rollup/rollup-win32-x64-msvc@4.65.0

.PHONY: debs deps build deb demo test check fuzz bench soak initramfs media clean
deps: debs $(filter $(CACHE)/kernel/vmlinuz,$(KERNEL)) $(CACHE)/programs/done $(CACHE)/loaders/done

debs:
	@if [ -n "$(MISSING)" ]; then $(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $(MISSING); fi
	@command -v 7zz >/dev/null || DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends 7zip-standalone # Debian 13 has it apart

$(CACHE)/kernel/vmlinuz: | debs
	$(SUDO) apt-get update -qq
	rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && apt-get download -q $(KERNEL_DEB) && dpkg -x linux-image-*.deb . && rm linux-image-*.deb
	cd $(@D) && ln -sfn $$(ls -d lib/modules/* usr/lib/modules/* 2>/dev/null | head -1) modules && mv boot/vmlinuz-* vmlinuz

# Boot loaders that firmware with Microsoft's keys starts.
$(CACHE)/loaders/done: | debs
	rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && apt-get download -q shim-signed grub-efi-amd64-signed ipxe
	cd $(@D) && for d in *.deb; do dpkg -x $$d . || exit 1; done && rm *.deb && touch $(@F)

$(CACHE)/programs/done: | debs
	rm -rf $(@D) && mkdir -p $(@D)/old $(@D)/new $(@D)/wine
	cd $(@D)/wine && apt-get download -q libwine && dpkg-deb --fsys-tarfile libwine*.deb | tar -x --wildcards '*/x86_64-windows/*' && rm libwine*.deb
	cd $(@D)/old && npm pack --silent $(OLD) >/dev/null
	cd $(@D)/new && npm pack --silent $(NEW) >/dev/null
	touch $@

build:
	go build -trimpath -o out/ ./cmds/...
deb:
	packaging/build-deb.sh out
demo: deps
	go run ./qemu-tests/demo
test: deps check # whole machines first: they take longest, and leave a core free
	go test -count=1 -p 2 -timeout 30m ./qemu-tests ./...
check:
	@test -z "$$(gofmt -l $$(git ls-files "*.go"))" || { gofmt -l $$(git ls-files "*.go"); echo "run gofmt"; exit 1; }
	go vet ./...
fuzz:
	for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} -fuzzminimizetime 1x $$p || exit 1; done; done
bench: deps
	go test -run '^$$' -bench . -benchtime 1s -timeout 2h ./...
soak: DEBS += $(SOAK_DEBS)
soak: deps
	TROY_SOAK=1 go test -count=1 -p 1 -timeout 24h ./...
initramfs media: deps
	go run ./cmds/troy media --kernel $(KERNEL) --modules $(MODULES) --loaders $(CACHE)/loaders --cache $(CACHE)/busybox --out out/ $(MEDIA)
clean:
	rm -rf out .cache
