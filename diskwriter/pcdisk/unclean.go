package pcdisk

import (
	"fmt"

	"troy/diskwriter/ntfs"
)

// trustUnclean decides about a volume that Windows lost without dismounting it, while the files lie
// where they were recorded. What counts is whether replaying $LogFile would move them; new times in
// their records do no harm.
func (t *Target) trustUnclean(volume *ntfs.Volume, verdict ntfs.Verdict) (note string, err error) {
	var files []*ntfs.MappedFile
	for _, name := range Names() {
		files = append(files, t.files[name])
	}
	mention, why := volume.LogMentions(files...)
	if mention == ntfs.LogNone || mention == ntfs.LogTimes {
		return fmt.Sprintf("volume is unclean (%s), the files lie where they were", verdict), nil
	}
	return "", fmt.Errorf("%w: %s; $LogFile: %s (%s)", ErrUnclean, verdict, mention, why)
}
