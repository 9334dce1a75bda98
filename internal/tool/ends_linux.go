package tool

import "syscall"

// ends has a program end with this one, also when that is killed: nothing goes on writing for nobody.
func ends() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
