package initramfs

// uroot is where u-root keeps its commands.
const uroot = "github.com/u-root/u-root/cmds/"

// agentProgram is the program that u-root's init starts.
const agentProgram = "troy/cmds/deploy"

// defaultCommands returns the Go packages that are built in beside the agent: u-root's init, what
// the kernel calls for modules, and for rescue media what a person at the shell needs. Packages of
// other modules must also stand in tools.go, or go.mod loses them. Not among them for their size
// (compressed): wget 0.9 MB, pci 0.3 MB.
func defaultCommands(rescue bool) []string {
	if !rescue {
		return []string{uroot + "core/init", uroot + "exp/modprobe"}
	}
	core := []string{
		"init", "gosh", // what makes it start
		"blkid", "cat", "chmod", "cp", "date", "dd", "df", "dhclient", "dmesg", "du", "echo", "find", "free",
		"grep", "head", "hexdump", "hostname", "id", "insmod", "io", "ip", "kill", "ln", "losetup", "ls", "lsdrivers",
		"lsmod", "mkdir", "mknod", "more", "mount", "mv", "ping", "poweroff", "ps", "pwd",
		"rm", "rmmod", "shasum", "shutdown", "sleep", "stty", "sync", "tail", "tee", "umount", "uname", "uptime",
		"wc",
	}
	exp := []string{"efivarfs", "modprobe", "partprobe"}
	var all []string
	for _, c := range core {
		all = append(all, uroot+"core/"+c)
	}
	for _, c := range exp {
		all = append(all, uroot+"exp/"+c)
	}
	return all
}
