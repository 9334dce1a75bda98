package ntfs_test
import ("testing";"os";"strings";"strconv";"troy/diskwriter/ntfs")
func TestZ(t *testing.T){
 f,_:=os.Open("/tmp/n/win.dd"); st,_:=f.Stat(); v,err:=ntfs.Open(f,st.Size()); if err!=nil{t.Fatal(err)}
 b,_:=os.ReadFile("/tmp/n/lsns.txt"); known:=map[uint64]bool{}; var all []uint64
 for _,s:=range strings.Fields(string(b)) { n,_:=strconv.ParseUint(s,16,64); known[n]=true; all=append(all,n)}
 seen:=map[uint64]bool{}
 for _,n:=range all { if seen[n] {continue}; l,err:=v.WalkLogFrom(n); bad:=0; for _,x:=range l { if !known[x]{bad++}; seen[x]=true}; if len(l)>0||n>0x100000 {t.Logf("%x: %d visited, %d unknown to ntfsrecover: %v",n,len(l),bad,err)}}
 t.Log(len(seen),len(all))
}
