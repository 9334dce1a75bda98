package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"troy/image"
	"troy/image/trust"
	"troy/image/trust/sign"
	"troy/internal/cli"
	"troy/internal/format"
	"troy/server/signing"
)

// keyCommand returns the commands that work on the signed side of a store. The admin key signs all
// that machines take: --keys names the folder where it is (a stick), so that it need not lie in the
// store. The server's own key stays in the store, and is never served.
func keyCommand(s *cli.Streams) *cobra.Command {
	return group("key", "manage the admin key and servers",
		newKeyInit(s), newKeyList(s), newKeyRotate(s), newKeySign(s), newKeyRefresh(s), newKeyServers(s), newKeyRoot(s), newKeyTrust(s))
}

// keyFlags are the flags of commands that use the folder of the admin key.
type keyFlags struct {
	folder, passphraseFile string
	yes                    bool

	// approved says that the command has asked by itself. broad says that it signs what it finds,
	// so that a person has to look.
	approved, broad bool

	// known, if not nil, is the passphrase that a command of several steps was told before.
	known *[]byte
}

// define adds the flags of commands that sign.
func (k *keyFlags) define(fs *pflag.FlagSet) {
	k.defineTrust(fs)
	fs.StringVar(&k.passphraseFile, "passphrase-file", "", "`file` whose first line is the admin key's passphrase (default: TROY_PASSPHRASE, else you are asked)")
	fs.BoolVar(&k.yes, "yes", false, "sign without asking")
}

// defineTrust adds the flag of commands that only read what the admin key signed.
func (k *keyFlags) defineTrust(fs *pflag.FlagSet) {
	fs.StringVar(&k.folder, "keys", "", "the `folder` with admin.key and trusted.json, such as a stick (default: TROY_KEYS, else keys/ in the store)")
}

// sayKeys tells the admin what to lock away, and loudly what a thief would only have to copy.
func (c *call) sayKeys(repo *sign.Repository, store string) {
	path := repo.KeyPath(sign.Admin)
	fmt.Fprintf(c.Out, "admin key: %s  (signs all that PCs take: copy it and trusted.json beside it to two places)\n", cli.Clean(path))
	if sealed, err := repo.Sealed(); err == nil && !sealed {
		fmt.Fprintf(c.Err, "troy: WARNING: the admin key is NOT SEALED: whoever copies %s signs as you; on a terminal you are asked for a passphrase, --passphrase-file gives one\n", cli.Clean(path))
	}
	if rel, err := filepath.Rel(store, path); err == nil && filepath.IsLocal(rel) {
		fmt.Fprintf(c.Err, "troy: WARNING: the admin key lies IN THE STORE: whoever breaks into this machine signs as you; move admin.key and trusted.json from %s to a stick, and give --keys DIR to the commands that sign\n", cli.Clean(filepath.Dir(path)))
	}
}

// unsigned names the command that helps where a store has no signatures.
func unsigned(err error, dir string) error {
	if errors.Is(err, sign.ErrDoubt) { // it had some
		return trustFault(err)
	}
	return &cli.Fault{Err: err, Fate: "machines take nothing from it", Advice: "'troy key init --store " + dir + "' creates its keys and signs its contents"}
}

// trustFault says what helps where signing, or what is trusted, stops a command.
func trustFault(err error) error {
	var known *cli.Fault
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &cli.Fault{Err: err, Fate: "nothing was signed or written", Advice: keyAdvice(err)}
}

// withoutAdvice is for an image that is signed and that the store lacks.
const withoutAdvice = "if that image is given up, 'troy key sign --without IMAGE' signs that it is gone"

func keyAdvice(err error) string {
	var unasked *sign.UnaskedError
	var newer *format.NeedsError
	switch {
	case errors.As(err, &newer):
		return "" // it says what to do
	case errors.Is(err, sign.ErrNoTrust):
		return "--keys names the folder with admin.key and trusted.json; 'troy key trust ROOT.json' makes trusted.json from the root that your boot media carry"
	case errors.As(err, &unasked):
		return "if this is your own work, interrupted, 'troy key sign' shows and signs it; else somebody wrote to the store: 'troy key rotate --server' puts it back"
	case errors.Is(err, sign.ErrMissing):
		return withoutAdvice
	case errors.Is(err, sign.ErrOldRoot):
		return "bring back the folder keys/ and the files *.root.json of metadata/ as they were after the keys were replaced; without them machines need new media"
	case errors.Is(err, fs.ErrPermission):
		return "run it as the user to whom the store belongs"
	case errors.Is(err, syscall.EIO):
		return "look after the disk: the kernel's log tells more"
	case errors.Is(err, sign.ErrDoubt), errors.Is(err, trust.ErrUntrusted):
		return "if the store was restored from a backup, 'troy key sign --at-least' continues from it; else somebody wrote to it: 'troy key rotate --server' puts it back to what was verified last"
	case errors.Is(err, sign.ErrKey):
		return "--keys names the folder of the admin key, --passphrase-file opens a sealed one"
	}
	return ""
}

// repository opens the signed side of the store.
func (i *imageCall) repository(keys *keyFlags) (*sign.Repository, error) {
	repo, err := sign.Open(i.dir, keys.options(i.call))
	if errors.Is(err, sign.ErrUnsigned) {
		return nil, unsigned(err, i.dir)
	}
	return repo, err
}

// signer opens the keys before the long work begins, and makes sure that the store holds nothing
// that is not signed.
func (i *imageCall) signer(ctx context.Context, keys *keyFlags) (*sign.Repository, error) {
	repo, err := i.repository(keys)
	if err == nil {
		err = repo.Ready(ctx, i.store)
	}
	if err != nil {
		return nil, trustFault(err)
	}
	return repo, nil
}

// openSigned opens the store for signed.
func (i *imageCall) openSigned(ctx context.Context, keys *keyFlags) (image.Source, error) {
	if err := i.open(); err != nil {
		return nil, err
	}
	return i.signed(ctx, keys)
}

// signed opens the store through the signatures of the admin key: what is copied out of it was
// verified.
func (i *imageCall) signed(ctx context.Context, keys *keyFlags) (image.Source, error) {
	repo, err := i.repository(keys)
	if err != nil {
		return nil, trustFault(err)
	}
	src, err := repo.Source(ctx, i.store)
	if err != nil {
		return nil, trustFault(err)
	}
	return src, nil
}

// warnExpiry tells which signatures end soon. Trouble with them does not stop commands that only
// read.
func (i *imageCall) warnExpiry() {
	repo, err := sign.Open(i.dir, nil)
	if errors.Is(err, sign.ErrUnsigned) {
		err = unsigned(err, i.dir)
	}
	if err != nil {
		i.Note("%v", err)
		return
	}
	lines, err := signing.Expiring(repo, time.Now())
	for _, line := range lines {
		i.Note("%s", line)
	}
	if err != nil {
		i.Note("%v", err)
	}
}
