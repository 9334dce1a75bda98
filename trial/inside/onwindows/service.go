package onwindows

import (
	"troy/trial/inside"
)

// The service that runs the program when Windows starts.
const (
	ServiceName  = "troytrial"
	ServiceTitle = "Troy trial"
)

// ServiceArgs are the arguments that the service gives the program.
func ServiceArgs() []string { return []string{"up", "--service"} }

// ServiceCommand is the command line of the service. Nothing in it has to be quoted.
func ServiceCommand() string {
	command := "C:" + inside.Folder + inside.ProgramFile
	for _, a := range ServiceArgs() {
		command += " " + a
	}
	return command
}
