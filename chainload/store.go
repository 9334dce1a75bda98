package chainload

import (
	"errors"
	"fmt"
	"io/fs"

	"troy/chainload/bcd"
	"troy/chainload/esp"
	"troy/chainload/regf"
	"troy/internal/errline"
)

// Files of Windows on the ESP. The names below bootDir are those that Windows
// gives; storeNew and storeOld are ours.
const (
	bootDir     = "EFI/Microsoft/Boot"
	managerName = "bootmgfw.efi"
	storeName   = "BCD"
	storeNew    = "BCD.new"
	storeOld    = "BCD.old"
)

// storeLogs are the transaction logs of a store. They belong to the hive they
// were written for.
func storeLogs() []string { return []string{"BCD.LOG", "BCD.LOG1", "BCD.LOG2"} }

// checkBootFiles sees whether Windows Boot Manager is there and begins as an
// EFI program does.
func checkBootFiles(w *windowsFiles) error {
	head, err := w.dir.ReadHead(managerName, 2)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is missing", ErrNoBootFiles, bcd.BootManagerPath)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrESP, err)
	case string(head) != "MZ":
		return fmt.Errorf("%w: %s is not an EFI program", ErrNoBootFiles, bcd.BootManagerPath)
	}
	return nil
}

// ensureStore leaves a store on the ESP that boots the VHDX file.
func ensureStore(w *windowsFiles, o *Options, r *Result) error {
	old, err := w.dir.Read(storeName, regf.MaxSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, esp.ErrTooLong) {
		return fmt.Errorf("%w: %w", ErrESP, err)
	}
	store, reason := checkStore(old, err, o.vhd())
	if reason == nil {
		r.Store = StoreKept
		return nil
	}
	r.storeReason = reason
	data, action, err := makeStore(store, o)
	if err != nil {
		return err
	}
	if err := replaceStore(w, old, data, r); err != nil {
		return fmt.Errorf("%w: replacing the BCD store: %w", ErrESP, err)
	}
	r.Store = action
	return nil
}

// checkStore returns the reason why a store must be replaced, and the store
// itself when it can at least be read.
func checkStore(b []byte, readErr error, v bcd.VHD) (*bcd.Store, error) {
	if readErr != nil {
		return nil, readErr
	}
	s, err := bcd.Parse(b)
	if err != nil {
		return nil, err
	}
	return s, s.Names(v)
}

// makeStore returns the bytes of a store that boots the VHDX file: the old one
// with other device elements if that was asked for and is enough, or a new one.
func makeStore(old *bcd.Store, o *Options) ([]byte, StoreAction, error) {
	if o.KeepStore && old != nil && !old.Dirty() {
		if b, ok := patchStore(old, o.vhd()); ok {
			return b, StorePatched, nil
		}
	}
	v := o.vhd()
	s, err := bcd.New(v, o.ESP.GUID)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrOptions, err)
	}
	b, err := s.Marshal()
	if err != nil {
		return nil, "", err
	}
	return b, StoreWritten, nil
}

// patchStore works on the bytes it makes: they must name the file as read back.
func patchStore(s *bcd.Store, v bcd.VHD) ([]byte, bool) {
	if s.PatchVHD(v) != nil {
		return nil, false
	}
	b, err := s.Marshal()
	if err != nil {
		return nil, false
	}
	_, err = checkStore(b, nil, v)
	return b, err == nil
}

// replaceStore puts a store in place of the old one; see Order of writes.
func replaceStore(w *windowsFiles, old, data []byte, r *Result) error {
	if err := w.MakeWritable(); err != nil {
		return err
	}
	if err := w.dir.Write(storeNew, data); err != nil {
		return errline.Join(err, w.dir.Remove(storeNew))
	}
	if old != nil {
		// An ESP too full for the copy must not keep the machine from booting.
		if err := w.dir.Write(storeOld, old); err != nil {
			r.note(errline.Join(err, w.dir.Remove(storeOld)))
		}
	}
	if err := w.dir.Rename(storeNew, storeName, data); err != nil {
		return err
	}
	for _, name := range storeLogs() {
		r.note(w.dir.Remove(name))
	}
	return nil
}
