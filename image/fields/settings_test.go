package fields_test

import (
	"errors"
	"slices"
	"testing"

	"troy/image/fields"
)

// TestSettings: every name of a setting takes what Windows knows, and no other name is one.
func TestSettings(t *testing.T) {
	names := fields.Settings()
	if !slices.IsSorted(names) || len(names) != 5 {
		t.Errorf("settings %v", names)
	}
	for _, name := range names {
		if err := fields.CheckSetting(name, 0); err != nil {
			t.Error(err)
		}
	}
	for name, most := range map[string]uint32{fields.Hiberboot: 1, fields.DisablePasswordChange: 1, fields.StorageStart: 0, fields.MaximumPasswordAge: 1_000_000} {
		if fields.CheckSetting(name, most) != nil || !errors.Is(fields.CheckSetting(name, most+1), fields.ErrIllegal) {
			t.Errorf("%s up to %d", name, most)
		}
	}
	for _, name := range []string{"", fields.ComputerName, fields.MachineFile, fields.AnswerFile, "Hiberboot-Enabled"} {
		if !errors.Is(fields.CheckSetting(name, 1), fields.ErrIllegal) {
			t.Errorf("%q is a setting", name)
		}
	}
}

func TestMachineJSON(t *testing.T) {
	got := string(fields.MachineJSON("LAB-1", "lab-1", "B204", map[string]string{"printer": "a \"b\"", "account": "ü"}))
	if want := `{"host":"lab-1","name":"LAB-1","room":"B204","values":{"account":"ü","printer":"a \"b\""}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
