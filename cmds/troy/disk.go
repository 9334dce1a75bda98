package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"troy/diskwriter/blockdev"
	"troy/diskwriter/machine"
	"troy/diskwriter/pcdisk"
	"troy/internal/cli"
)

// diskCommand returns the commands that work on the disk of a machine: a block device, or an image
// file of a whole disk.
//
// inspect and verify open the disk read only. merge, rollback and reset first finish what was cut
// off, as the agent does. heal and reinstall take the bytes from a store; a reinstall that is cut
// off leaves a machine that boots nothing until it is run again. Only prepare makes or erases
// anything outside of the clusters of the \Troy\ files. Where a command fails, its one line says
// whether the disk was written to: "untouched" is what ends the agent with exit code 3, "run it
// again" with 4; here the exit code is 1 for both, and 5 when verify found something wrong.
//
// With --json a command prints one JSON document on the standard output, as those of troy vhdx do.
func diskCommand(s *cli.Streams) *cobra.Command {
	return group("disk", "repair a machine's disk by hand", newDiskPrepare(s), newDiskInspect(s), newDiskVerify(s),
		newDiskChange(s, "merge DEVICE", "merge staged versions into base.vhdx", "merged", diskMerge),
		newDiskChange(s, "rollback DEVICE", "go back to the version before", "rolled back", diskRollback),
		newDiskHeal(s), newDiskReinstall(s), newDiskName(s),
		newDiskChange(s, "reset DEVICE", "discard the changes that Windows made", "reset", diskReset))
}

// fateOf says what became of the disk.
func fateOf(t *pcdisk.Target) string {
	if t == nil || t.Written() == 0 {
		return "the disk is untouched"
	}
	return "the disk was written to, the machine starts one whole version; run the command again"
}

// explainDisk is explain with what to do about the errors of disks.
func explainDisk(err error, fate string) error {
	if err == nil {
		return nil
	}
	var known *cli.Fault
	if errors.As(err, &known) {
		return explain(err, fate)
	}
	return explain(&cli.Fault{Err: err, Advice: diskAdvice(err)}, fate)
}

func diskAdvice(err error) string {
	switch {
	case errors.Is(err, pcdisk.ErrOccupied):
		return "--wipe erases it"
	case errors.Is(err, pcdisk.ErrHalfPrepared):
		return "'troy disk prepare' starts over"
	case errors.Is(err, pcdisk.ErrUnclean):
		return "start Windows once, it repairs its volume"
	case errors.Is(err, machine.ErrParentChanged):
		return "'troy disk heal' repairs it"
	case errors.Is(err, machine.ErrReinstalling):
		return "'troy disk reinstall' resumes"
	case errors.Is(err, machine.ErrMergeStarted):
		return "only the newer version is whole now"
	}
	return advice(err)
}

// openMachine opens the one disk at path, and the machine on it.
func openMachine(v *call, path string, o *blockdev.Options) (*pcdisk.Target, *machine.Machine, error) {
	t, err := pcdisk.Look(path, o)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	m, note, err := t.Open()
	if err != nil {
		t.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if note != "" {
		v.Note("%s", note)
	}
	return t, m, nil
}

// jsonDiskState is machine.State as it is printed.
type jsonDiskState struct {
	Image          string `json:"image"`        // "" and 0: nobody recorded what it is
	Version        int    `json:"version"`      // what the machine boots
	BaseVersion    int    `json:"base_version"` // of the parent alone; 0 while a merge makes it a mixture
	StagedImage    string `json:"staged_image,omitempty"`
	Staged         int    `json:"staged,omitempty"` // waits for its commit
	Layers         int    `json:"layers"`           // slots between boot child and parent
	SlotFree       bool   `json:"slot_free"`
	Merging        bool   `json:"merging"`
	Merged         bool   `json:"merged"` // all is copied, the boot child still names the slot
	MergeOffset    int64  `json:"merge_offset"`
	SessionWritten bool   `json:"session_written"` // Windows wrote since the last commit or reset
	LogPending     bool   `json:"log_pending"`     // the boot child was not closed
	VirtualSize    int64  `json:"virtual_disk_size"`
	SectorSize     uint32 `json:"logical_sector_size"`
}

func newJSONState(s machine.State) *jsonDiskState {
	return &jsonDiskState{Image: s.Image, Version: s.Version, BaseVersion: s.BaseVersion, StagedImage: s.StagedImage, Staged: s.Staged,
		Layers: s.Layers, SlotFree: s.SlotFree, Merging: s.Merging, Merged: s.Merged, MergeOffset: s.MergeOffset,
		SessionWritten: s.SessionWritten, LogPending: s.LogPending, VirtualSize: s.VirtualSize, SectorSize: s.LogicalSectorSize}
}

// String says the same in words.
func (s *jsonDiskState) String() string {
	what := fmt.Sprintf("holds %s version %d", cli.Clean(s.Image), s.Version)
	if s.Version == 0 {
		what = "holds a version that nobody recorded"
	}
	if s.Layers > 0 {
		what += fmt.Sprintf(" in %d slots over the parent (version %d)", s.Layers, s.BaseVersion)
	}
	if s.Merging {
		what += fmt.Sprintf(", merged up to byte %d of %d", s.MergeOffset, s.VirtualSize)
	}
	if s.Staged > 0 {
		what += fmt.Sprintf(", %s version %d is staged", cli.Clean(s.StagedImage), s.Staged)
	}
	if s.SessionWritten {
		what += ", Windows wrote since"
	}
	if s.LogPending {
		what += ", a log waits to be replayed"
	}
	return what
}
