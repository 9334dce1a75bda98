package sign

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
	"golang.org/x/crypto/scrypt"

	"troy/internal/format"
)

// KeyKind is the format of key files.
var KeyKind = format.Kind{Name: "the key file", Number: 1, Oldest: 1}

// The parameters of scrypt: 64 MiB and some tenths of a second for each guess.
const (
	scryptN, scryptR, scryptP = 1 << 16, 8, 1
	maxKeyFile                = 4 << 10
	keyKind                   = "troy signing key"
)

// keyFile is a signing key as it lies in a file. Either Seed is there, or Salt and Box.
type keyFile struct {
	format.Head
	Kind   string `json:"kind"`
	Key    Key    `json:"key"`
	Public []byte `json:"public"`
	Seed   []byte `json:"seed,omitempty"`
	Salt   []byte `json:"salt,omitempty"` // of scrypt, N 65536, r 8, p 1
	Box    []byte `json:"box,omitempty"`  // AES-256-GCM of the seed: nonce, sealed; which key it is and its public half are authenticated with it
}

// signingKey is one key in memory.
type signingKey struct {
	private ed25519.PrivateKey
	signer  signature.Signer
	key     *metadata.Key
	id      string
}

func newSigningKey(seed []byte) (*signingKey, error) {
	k := &signingKey{private: ed25519.NewKeyFromSeed(seed)}
	var err error
	if k.signer, err = signature.LoadED25519Signer(k.private); err != nil {
		return nil, err
	}
	if k.key, err = metadata.KeyFromPublicKey(k.private.Public()); err != nil {
		return nil, err
	}
	k.id, err = k.key.ID()
	return k, err
}

// generateKey makes a key from the system's randomness.
func generateKey() (*signingKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	return newSigningKey(seed)
}

// seal encodes the key for its file; an empty passphrase leaves it open.
func (k *signingKey) seal(which Key, passphrase []byte) ([]byte, error) {
	f := keyFile{Kind: keyKind, Key: which, Public: k.private.Public().(ed25519.PublicKey)}
	if len(passphrase) == 0 {
		f.Seed = k.private.Seed()
	} else {
		f.Salt = make([]byte, 16)
		if _, err := rand.Read(f.Salt); err != nil {
			return nil, err
		}
		box, err := f.cipher(passphrase)
		if err != nil {
			return nil, err
		}
		nonce := make([]byte, box.NonceSize())
		if _, err := rand.Read(nonce); err != nil {
			return nil, err
		}
		f.Box = box.Seal(nonce, nonce, k.private.Seed(), f.bound())
	}
	KeyKind.Stamp(&f.Head)
	return format.Indent(&f)
}

func (f *keyFile) cipher(passphrase []byte) (cipher.AEAD, error) {
	key, err := scrypt.Key(passphrase, f.Salt, scryptN, scryptR, scryptP, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// bound is what is authenticated with the box.
func (f *keyFile) bound() []byte {
	return append([]byte(keyKind+"\x00"+string(f.Key)+"\x00"), f.Public...)
}

// readKeyFile reads a key file, sealed or not. Its errors are in ErrKey.
func readKeyFile(path string, which Key) (*keyFile, error) {
	fail := func(err error) (*keyFile, error) { return nil, fmt.Errorf("%w: %s: %w", ErrKey, path, err) }
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the %s is not at %s: %w", ErrKey, which, path, fs.ErrNotExist)
	}
	if err != nil {
		return fail(err)
	}
	if st.Size() > maxKeyFile || !st.Mode().IsRegular() {
		return fail(errors.New("is no key file"))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fail(err)
	}
	var f keyFile
	err = KeyKind.Read(b, &f)
	switch {
	case errors.Is(err, format.ErrMalformed), err == nil && f.Kind != keyKind:
		return fail(errors.New("is no key file"))
	case err != nil:
		return fail(err)
	case f.Key != which:
		return fail(fmt.Errorf("holds the %q key; wanted %q", string(f.Key), string(which)))
	}
	return &f, nil
}

// openKey reads a key file and opens it. passphrase is asked only if the key is sealed. Its errors
// are in ErrKey.
func openKey(path string, which Key, passphrase func() ([]byte, error)) (*signingKey, error) {
	f, err := readKeyFile(path, which)
	if err != nil {
		return nil, err
	}
	seed, err := f.unseal(passphrase)
	var k *signingKey
	if err == nil {
		k, err = newSigningKey(seed)
	}
	if err == nil && !bytes.Equal(f.Public, k.private.Public().(ed25519.PublicKey)) {
		err = errors.New("the two halves of the key do not belong together")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKey, path, err)
	}
	return k, nil
}

// signedRoot checks that root metadata trusts this key alone with what is the admin's, and that it
// has signed it.
func (f *keyFile) signedRoot(b []byte) error {
	t, err := trustedmetadata.New(b) // that the keys in it have signed it
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDoubt, err)
	}
	if !f.named(&t.Root.Signed) {
		return fmt.Errorf("%w: root version %d does not name this admin key", ErrDoubt, t.Root.Signed.Version)
	}
	return nil
}

// named says whether root metadata trusts this key alone with what it is for.
func (f *keyFile) named(root *metadata.RootType) bool {
	if len(f.Public) != ed25519.PublicKeySize {
		return false
	}
	key, err := metadata.KeyFromPublicKey(ed25519.PublicKey(f.Public))
	if err != nil {
		return false
	}
	id, err := key.ID()
	return err == nil && names(root, f.Key, id)
}

func (f *keyFile) unseal(passphrase func() ([]byte, error)) ([]byte, error) {
	seed := f.Seed
	if len(f.Box) > 0 {
		if passphrase == nil {
			return nil, errors.New("the key is sealed and no passphrase was given")
		}
		p, err := passphrase()
		if err != nil {
			return nil, err
		}
		box, err := f.cipher(p)
		if err != nil {
			return nil, err
		}
		if n := box.NonceSize(); len(f.Box) < n {
			return nil, errors.New("the key is cut off")
		} else if seed, err = box.Open(nil, f.Box[:n], f.Box[n:], f.bound()); err != nil {
			return nil, errors.New("wrong passphrase, or the file was changed")
		}
	}
	if len(seed) != ed25519.SeedSize {
		return nil, errors.New("the key is cut off")
	}
	return seed, nil
}
