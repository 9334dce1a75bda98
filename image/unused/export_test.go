package unused

// Volume is what an NTFS reader says of a volume.
type Volume = volume

// ReadNTFS is the reader of the product.
var ReadNTFS = readNTFS

// WithReader returns a Filter that asks another reader.
func WithReader(open opener) Filter { return Filter{open} }
