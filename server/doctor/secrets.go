package doctor

import (
	"context"
	"fmt"
	"slices"

	"troy/image"
	"troy/image/fields"
	"troy/server/lab"
	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/servedir"
)

// openPlace is a place of a version where users of a PC could read a secret.
type openPlace struct {
	image   string
	version int
	where   string
}

// checkSecrets looks whether the versions that machines are to have keep their secrets from users. It
// says nothing of a lab without secrets.
func checkSecrets(ctx context.Context, dir string, hosts []rooms.Host) (all []Finding) {
	l := labOf(dir)
	store, err := image.OpenStore(dir)
	if l == nil || err != nil {
		return nil // the server, and checkSigned, say why
	}
	var found []openPlace
	names, asked := map[openPlace][]string{}, false
	for _, h := range hosts {
		own, err := l.Identity(h.Room, h.Name)
		if err != nil || own == nil || len(own.Secrets) == 0 || h.WantVersion == 0 {
			continue
		}
		m, err := store.Show(ctx, h.WantImage, h.WantVersion)
		if err != nil {
			continue // not in the store any more
		}
		asked = true
		for i := range m.Fields {
			if f := &m.Fields[i]; !f.Private && takesSecret(f, own.Secrets) {
				at := openPlace{m.Image, m.Version, f.Where}
				if names[at] == nil {
					found = append(found, at)
				}
				names[at] = append(names[at], h.Name)
			}
		}
	}
	for _, at := range found {
		all = append(all, Finding{"secrets", Doubt, fmt.Sprintf("no secret goes into C:%s of %s version %d (%s): users of the PC can read it", at.where, at.image, at.version, some(names[at])),
			"run '" + fields.Mend(at.where) + "' in the Windows of the image and publish the next version"})
	}
	if asked && len(all) == 0 {
		all = append(all, Finding{"secrets", Good, "users of the PCs cannot read the files that secrets go to", ""})
	}
	return all
}

// labOf is the lab of a store that has been served; nil where there is none that is valid.
func labOf(dir string) *lab.Lab {
	path, err := servedir.Of(dir).Lab()
	if err != nil {
		return nil
	}
	l, err := lab.Load(path)
	if err != nil {
		return nil
	}
	return l
}

// takesSecret tells whether one of the secrets goes to a field.
func takesSecret(f *image.Field, list []lab.Secret) bool {
	return slices.ContainsFunc(list, func(s lab.Secret) bool {
		answer := protocol.IsAnswer(s.Key)
		return answer && f.Kind == image.FieldAnswers || !answer && f.Kind == image.FieldFile
	})
}
