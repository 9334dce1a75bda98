package vm

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	ctx := context.Background()
	d := "/tmp/w/media"
	c := &Config{Dir: d, Name: "shell", Kernel: os.Getenv("KERNEL"), Initrd: d + "/i.zst", NoReboot: true, Cmdline: "console=ttyS0 panic=-1 quiet shell", OnLine: func(s string) { fmt.Println(time.Now().Format("05.0"), s) }}
	v, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	fmt.Println(v.Expect(ctx, "UINIT: modaliases"))
	fmt.Println(v.Expect(ctx, `[$#>] ?$`))
	for _, s := range []string{"echo a$((40+2))b", "ls /bbin", "ip addr", "cat /proc/mounts", "ps", "modprobe loop", "lsmod", "dmesg | tail -n 3","ls -l /bin /dev"} {
		v.Send(s + "\n")
		time.Sleep(2 * time.Second)
	}
	v.Send("poweroff\n")
	if err := v.Wait(ctx); err != nil {
		t.Error(err)
	}
}
