package initramfs
import ("testing";"context";"os";"time";"os/exec")
func TestZZ(t *testing.T){
 s:=time.Now()
 if os.Getenv("ZZ")!=""{
 i,err:=Build(context.Background(),&Options{Kernel:os.Getenv("KERNEL"),Modules:os.Getenv("MODULES"),Out:"/tmp/w/media/i.zst",Agent:os.Getenv("ZZ"),Source:os.Getenv("ZZSRC"),Cache:"/tmp/w/media/cache"})
 if err!=nil{t.Fatal(err)}
 t.Log(i,time.Since(s), len(i.Modules))
 }
 for _,n:=range []string{"1","2"}{
 if err:=UKI(context.Background(),&UKIOptions{Kernel:os.Getenv("KERNEL"),Initrd:"/tmp/w/media/i.zst",Cmdline:"console=ttyS0 panic=-1 quiet "+os.Getenv("ZZCMD")+" troy.server=http://10.0.2.2:1/",Out:"/tmp/w/media/uki"+n});err!=nil{t.Fatal(err)}
 if err:=USB(context.Background(),&USBOptions{UKI:"/tmp/w/media/uki"+n,Out:"/tmp/w/media/usb"+n,Files:[]File{{Name:"troy/x/config.json",Data:[]byte("{}")}}});err!=nil{t.Fatal(err)}
 time.Sleep(2*time.Second)
 }
 b,err:=exec.Command("sh","-c","cd /tmp/w/media; cmp uki1 uki2; cmp usb1 usb2; sgdisk -v usb1; sgdisk -p usb1; dd if=usb1 of=fat bs=1M skip=1 status=none; truncate -s -1M fat; fsck.fat -n fat; objdump -h uki1").CombinedOutput()
 t.Log(string(b),err)
}
