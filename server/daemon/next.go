package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"troy/image/trust/sign"
)

// Next says what the admin has to do before machines get anything, a line each, with the commands;
// nothing if machines take this server and every room has a version.
func (d *Daemon) Next(ctx context.Context) []string {
	return append(d.unsigned(), d.nextOfRooms(ctx)...)
}

// unsigned says that machines do not know this server's key yet.
func (d *Daemon) unsigned() []string {
	repo, err := sign.Open(d.o.Dir, nil)
	if err != nil {
		return nil // package signing has said it
	}
	list, err := repo.ServedList()
	if err != nil {
		return []string{err.Error()}
	}
	if slices.Contains(list.Keys(), d.key) {
		return nil
	}
	return []string{fmt.Sprintf("no machine takes this server yet: 'troy key servers --store %s --add %s --url https://SERVER:PORT' signs its key", d.o.Dir, d.key)}
}

func (d *Daemon) nextOfRooms(ctx context.Context) []string {
	if _, err := os.Stat(d.lab.path); errors.Is(err, fs.ErrNotExist) {
		return []string{fmt.Sprintf("there is no %s yet: 'troy lab init %s' writes one; it is read as soon as it is there", d.lab.path, d.lab.path)}
	}
	images := d.lab.rooms.Images()
	name, version := "", 0
	for _, name = range images {
		// An image of which lab.yaml only speaks has no version, and one that is broken none to
		// give.
		if version, _ = d.catalog.Newest(ctx, name); version > 0 {
			break
		}
	}
	if _, err := d.catalog.Agent(); version == 0 && err != nil {
		return []string{fmt.Sprintf("what the store has cannot be read, and machines are ordered nothing: %v", err)}
	}
	if version == 0 {
		return []string{fmt.Sprintf("the store has no image yet: 'troy image import --store %s NAME DISK.vhdx' publishes version 1 of one", d.o.Dir)}
	}
	var lines []string
	for _, r := range d.lab.rooms.Status().Rooms {
		if r.Want == 0 {
			lines = append(lines, fmt.Sprintf("room %s has no version yet: 'troy promote --store %s --room %s %s@%d' gives it one", r.Name, d.o.Dir, r.Name, name, version))
		}
	}
	return lines
}
