package agent

import (
	"fmt"
	"strings"

	"troy/agent/decide"
)

// doing says what a step is, for people in the room.
func doing(s decide.Step) string {
	version := ""
	if s.Version > 0 {
		version = fmt.Sprintf(" version %d", s.Version)
	}
	switch s.Kind {
	case decide.Open, decide.Judge:
		return "Looking at the disk"
	case decide.Recover:
		return "Finishing what was interrupted"
	case decide.Connect:
		return "Connecting to the network"
	case decide.CheckIn, decide.Plan:
		return "Asking the server"
	case decide.Wait:
		return "Waiting for other PCs"
	case decide.Verify:
		return "Comparing the disk with its version"
	case decide.Heal:
		return "Comparing the disk, which another program changed"
	case decide.Stage, decide.Adopt:
		return "Fetching" + version
	case decide.Commit:
		return "Putting" + version + " in place"
	case decide.Merge:
		return "Merging the version into the image"
	case decide.Rollback:
		return "Going back to" + version
	case decide.Reset, decide.LeaveSetup:
		return "Throwing away the last session"
	case decide.Personalise:
		return "Giving this PC its name"
	case decide.Reinstall:
		return "Installing" + version
	case decide.Provision:
		return "Preparing the disk for" + version
	case decide.OwnAgent:
		return "Fetching a new release of Troy"
	case decide.Pause:
		return "Windows did not come up; it is started again"
	case decide.Restart:
		return "Restarting"
	case decide.Again:
		return "Trying again"
	case decide.Stay:
		return "Stopped"
	case decide.BootFiles:
		return "Checking the boot files"
	case decide.Note, decide.TryAgain, decide.EndSetup, decide.Want:
		return "Writing the journal"
	}
	return "Starting Windows"
}

// then says what a step adds to what comes next; "" = nothing that people have to know.
func then(s decide.Step) string {
	switch s.Kind {
	case decide.Connect, decide.CheckIn:
		return "the server is asked"
	case decide.Stage, decide.Adopt, decide.Reinstall, decide.Provision:
		return fmt.Sprintf("version %d is fetched", s.Version)
	case decide.Commit:
		return fmt.Sprintf("version %d is put in place", s.Version)
	case decide.Rollback:
		return fmt.Sprintf("version %d comes back", s.Version)
	case decide.Merge:
		return "it is merged"
	case decide.Reset:
		return "the last session is thrown away"
	case decide.OwnAgent:
		return "Troy renews itself"
	case decide.Windows:
		return "Windows starts"
	case decide.Restart, decide.Again:
		return "this PC restarts"
	}
	return ""
}

// comes says what comes after the first of some steps.
func comes(steps []decide.Step) string {
	var all []string
	for _, s := range steps[1:] {
		if text := then(s); text != "" && (len(all) == 0 || all[len(all)-1] != text) {
			all = append(all, text)
		}
	}
	if n := len(all); n > 1 {
		all = []string{strings.Join(all[:n-1], ", ") + ", then " + all[n-1]}
	}
	return strings.Join(all, "")
}
