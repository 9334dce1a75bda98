package machine

import (
	"context"
	"slices"

	"troy/internal/guid"
)

// Identify records that what the boot child sits on is a version, and which: the caller has compared
// all of it. Its GUID, its content and the session stay as they are. Errors: ErrMergeStarted for a
// slot of which the journal knows nothing, for its name alone would permit a rollback, although the
// parent may be half merged; *StepError.
func (m *Machine) Identify(ctx context.Context, l Label) error {
	if err := m.ready(opIdentify); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.GUID = m.chain[0].guid()
	if _, known := m.rec.label(l.GUID); !known && m.chain[0] != m.base {
		return ErrMergeStarted
	}
	return m.step(opIdentify, "label the version", func() error {
		return m.saveRecord(func(r *machineRecord) { r.relabel(l, m.base.guid()) })
	})
}

// relabel gives a file of the chain another name, wherever the record has it.
func (r *machineRecord) relabel(l Label, base guid.GUID) {
	if l.GUID == base {
		r.Base = l
	}
	if r.Merge != nil && r.Merge.Top.GUID == l.GUID {
		r.Merge.Top = l
	}
	if i := slices.IndexFunc(r.Layers, func(old Label) bool { return old.GUID == l.GUID }); i >= 0 {
		r.Layers[i] = l
	}
}
