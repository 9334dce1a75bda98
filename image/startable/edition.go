package startable

import (
	"errors"
	"fmt"
	"io"

	"troy/diskwriter/pcdisk"
)

// Product is which Windows a disk holds, as its registry says. What is empty is not known.
type Product struct {
	Edition string // EditionID: Professional, Education, Core
	Build   string // such as 26100.1742
}

// ErrNoProduct: a disk holds no Windows whose registry can be read.
var ErrNoProduct = errors.New("no Windows was found")

// ReadProduct reads which Windows a disk holds; sector is its logical sector size in bytes. Errors:
// ErrNoProduct, and those of reading.
func ReadProduct(disk io.ReaderAt, size int64, sector int) (Product, error) {
	const version = `Microsoft\Windows NT\CurrentVersion`
	volume, err := pcdisk.WindowsVolume(disk, size, sector)
	if err != nil {
		return Product{}, err
	}
	if volume == nil {
		return Product{}, ErrNoProduct
	}
	h, err := openHive(volume, "SOFTWARE")
	if err != nil {
		return Product{}, fmt.Errorf("%w: %w", ErrNoProduct, err)
	}
	p := Product{Edition: h.text(version, "EditionID"), Build: h.text(version, "CurrentBuildNumber")}
	if revision := h.number(version, "UBR"); revision > 0 && p.Build != "" {
		p.Build = fmt.Sprintf("%s.%d", p.Build, revision)
	}
	return p, nil
}
