# Troy: `make demo` shows the main job, `make test` checks everything; both set up a fresh Debian machine themselves.
# `make quick check` is for between: no root, no virtual machine, no downloads but Go modules. CONTRIBUTING.md says more.
# On another distribution give KERNEL=vmlinuz and MODULES=lib/modules/VERSION of a 6.6 or newer kernel, and the programs of DEBS.
CACHE   := $(CURDIR)/.cache
KERNEL  ?= $(CACHE)/kernel/vmlinuz
MODULES ?= $(CACHE)/kernel/modules
TROY_CACHE := $(CACHE)
VERSION ?= $(shell git log -1 --format='0-%cd-%h' --date=format:%Y%m%d%H%M%S)
export KERNEL MODULES TROY_CACHE
export CGO_ENABLED := 0
# Files that Windows and others made are not in this tree. Where they are, no test may be skipped; elsewhere those tests alone are.
ifneq ($(wildcard $(CURDIR)/../shared/samples/.),)
export TROY_SAMPLES ?= $(abspath $(CURDIR)/../shared/samples)
endif
MAY_SKIP := $(if $(TROY_SAMPLES),,no samples)
TEST := go run ./internal/testing/summary
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

DEBS := qemu-system-x86 qemu-utils ovmf ipxe-qemu ntfs-3g wimtools partclone 7zip genisoimage libhivex-bin reglookup gdisk mtools dosfstools fdisk xorriso \
        dnsmasq-base iproute2 rsync xdelta3 systemd-boot-efi binutils zstd xz-utils bzip2 lz4 lzip lzop curl kmod ca-certificates chromium fonts-dejavu-core systemd openssl man-db groff-base
SOAK_DEBS := mmdebstrap e2fsprogs podman crun procps wine64 swtpm reprepro gnupg # a Debian with systemd, and a container, for the tests of packaging; Wine for troy-gates.exe, a TPM for troy try
MISSING = $(shell for p in $(DEBS); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done; command -v npm >/dev/null || echo npm)
KERNEL_DEB = $$(apt-cache depends linux-image-6.12-amd64 linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-6.12/{print $$2; exit}')

# Windows programs and their next release: the content of the disks that the demo and the tests deploy.
NEW := @esbuild/win32-x64@0.28.2 @swc/core-win32-x64-msvc@1.16.18 @rollup/rollup-win32-x64-msvc@4.67.4
OLD := @esbuild/win32-x64@0.28.1 @swc/core-win32-x64-msvc@1.16.17 @rollup/rollup-win32-x64-msvc@4.65.0

# Packages whose tests start virtual machines or build media.
SLOW := ^troy/(qemu-tests|packaging|initramfs|internal/testing/standin|trial/(vm|prepare))(/|$$)

# What a boot bundle takes of Debian: unpacked, and a file that says of which packages and sources it is.
UNPACK = for d in *.deb; do dpkg-deb -f $$d Package Version Source Built-Using Static-Built-Using && echo && dpkg -x $$d . || exit 1; done >control.new && rm *.deb

.PHONY: debs deps build deb release outdated docs man demo quick test check fuzz bench soak bundle media clean
BOOT := $(if $(filter $(CACHE)/kernel/vmlinuz,$(KERNEL)),$(CACHE)/kernel/control) $(CACHE)/loaders/control
deps: debs $(BOOT) $(CACHE)/programs/done $(CACHE)/schema/done $(CACHE)/powershell/done

debs:
	@if [ -n "$(MISSING)" ]; then $(SUDO) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $(MISSING); fi
	@command -v 7zz >/dev/null || DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends 7zip-standalone # Debian 13 has it apart

$(CACHE)/kernel/control: | debs
	$(SUDO) apt-get update -qq
	rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && apt-get download -q $(KERNEL_DEB) && $(UNPACK)
	cd $(@D) && ln -sfn $$(ls -d lib/modules/* usr/lib/modules/* 2>/dev/null | head -1) modules && mv boot/vmlinuz-* vmlinuz && mv control.new control

# Boot loaders that firmware with Microsoft's keys starts.
$(CACHE)/loaders/control: | debs
	rm -rf $(@D) && mkdir -p $(@D) && cd $(@D) && apt-get download -q shim-signed grub-efi-amd64-signed ipxe && $(UNPACK)
	mv $(@D)/control.new $@

$(CACHE)/programs/done: | debs
	rm -rf $(@D) && mkdir -p $(@D)/old $(@D)/new $(@D)/wine
	cd $(@D)/wine && apt-get download -q libwine && dpkg-deb --fsys-tarfile libwine*.deb | tar -x --wildcards '*/x86_64-windows/*' && rm libwine*.deb
	cd $(@D)/old && npm pack --silent $(OLD) >/dev/null
	cd $(@D)/new && npm pack --silent $(NEW) >/dev/null
	touch $@

# What CycloneDX says of a bill of materials: the schemas of version 1.5, as its own library brings them.
$(CACHE)/schema/done: | debs
	rm -rf $(@D) && mkdir -p $(@D)
	cd $(@D) && npm pack --silent @cyclonedx/cyclonedx-library@10.3.0 >/dev/null
	cd $(@D) && tar -xzf *.tgz --wildcards --strip-components=3 '*/bom-1.5.*.json' '*/spdx.*.json' '*/jsf-*.json' && rm *.tgz
	touch $@

# A parser of PowerShell, for the script that prepares a golden image.
$(CACHE)/powershell/done: | debs
	rm -rf $(@D) && mkdir -p $(@D)
	cd $(@D) && npm pack --silent @vscode/tree-sitter-wasm@0.3.1 >/dev/null
	cd $(@D) && tar -xzf *.tgz --strip-components=2 $(addprefix package/wasm/,tree-sitter.js tree-sitter.wasm tree-sitter-powershell.wasm) && rm *.tgz
	touch $@

build:
	go build -trimpath -o out/ ./cmds/...
	GOOS=windows GOARCH=amd64 go build -trimpath -ldflags='-s -w' -o out/troy-gates.exe ./cmds/troy-gates
deb: bundle
	packaging/build-deb.sh out
release: bundle # KEY=ID of the GnuPG key that signs; needs reprepro
	packaging/release.sh "$(KEY)" out/release
# What of the boot bundle Debian has newer by now, one a line.
outdated: $(BOOT)
	@$(SUDO) apt-get update -qq
	@test ! -e $(CACHE)/kernel/control || grep -qx "Package: $(KERNEL_DEB)" $(CACHE)/kernel/control || echo "the kernel: Debian has $(KERNEL_DEB)"
	@{ awk '/^(Package|Version): /{print $$2}' $(BOOT); dpkg-query -W -f '$${Package}\n$${Version}\n' ntfs-3g libc6; } | while read -r p && read -r v; do \
		n=$$(apt-cache policy $$p | awk '/Candidate:/{print $$2}'); [ "$$n" = "$$v" ] || echo "$$p $$v: Debian has $${n:-none}"; done
docs:
	go run ./cmds/troy docs markdown >docs/cli.md.new && mv docs/cli.md.new docs/cli.md
	go run ./cmds/troy lab schema >docs/lab.schema.json
	go test ./server/lab -run TestPage -update
man:
	go run ./cmds/troy docs man out/man
demo: deps
	go run ./qemu-tests/demo
quick:
	$(TEST) -may-skip any -- -short -timeout 10m $$(go list ./... | grep -vE '$(SLOW)')
# Whole machines first: they take longest, and leave a core free. They take up to 33 minutes here; the limit is for a machine that is
# slower, and still ends a run that hangs before CI does so after 90 minutes.
test: deps check
	$(TEST) -may-skip '$(MAY_SKIP)' -- -count=1 -p 2 -timeout 80m ./qemu-tests ./qemu-tests/try ./...
check:
	@files="$$(gofmt -l $$(git ls-files '*.go'))" && test -z "$$files" || { echo "run gofmt: $$files"; exit 1; }
	go vet ./...
	GOOS=windows GOARCH=amd64 GOFLAGS=-trimpath go vet ./gates/... ./trial/inside/... ./cmds/troy-gates
	go tool staticcheck ./...
	@dead="$$(go tool deadcode -test ./...)" && test -z "$$dead" || { echo "nothing calls these:"; echo "$$dead"; exit 1; }
	@dead="$$(go tool deadcode ./...)" && ! echo "$$dead" | grep -vE '^($$|vhdx/|image/capture/|internal/(guid|testing)/)' || { echo "only tests call these (vhdx and its GUID are for other modules, too; image/capture is for agents that capture)"; exit 1; }
	go tool unparam ./...
fuzz:
	for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} -fuzzminimizetime 1x $$p || exit 1; done; done
bench: deps
	go test -run '^$$' -bench . -benchtime 1s -timeout 2h ./...
soak: DEBS += $(SOAK_DEBS)
soak: deps
	TROY_SOAK=1 $(TEST) -may-skip '$(MAY_SKIP)' -- -count=1 -p 1 -timeout 24h ./...
# The boot bundle of this checkout. DRIVERS="a b": kernel modules besides those of common PCs.
bundle: debs $(BOOT)
	go run ./cmds/troy-bundle --kernel $(KERNEL) --modules $(MODULES) --loaders $(CACHE)/loaders --drivers "$(DRIVERS)" --version "$(subst ~,-,$(VERSION))" --cache $(CACHE)/boot --out out/boot
media: bundle # MEDIA="--store DIR": whose signatures the media carry
	go run ./cmds/troy media --bundle out/boot --out out $(MEDIA)
clean:
	rm -rf out .cache
