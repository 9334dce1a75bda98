package vhdx
import ("testing";"context";"os";"os/exec";"bytes";"math/rand";"path/filepath")
func TestTmpMerge(t *testing.T){
 for seed:=int64(0);seed<30;seed++{
 r:=rand.New(rand.NewSource(seed))
 d:=t.TempDir()
 size:=int64(r.Intn(90)+10)<<20+int64(r.Intn(100))*512
 base,err:=Create(filepath.Join(d,"base.vhdx"),&CreateOptions{Size:size,Kind:Kind(r.Intn(2)),BlockSize:1<<(20+r.Intn(5))}); if err!=nil{t.Fatal(err)}
 files:=[]*File{base}
 sizes:=[]int64{size}
 for i:=0;i<1+r.Intn(3);i++{
  sz:=size; switch r.Intn(3){case 0: sz=int64(r.Intn(120)+10)<<20; case 1: sz=size+512*int64(r.Intn(10000))}
  f,err:=Create(filepath.Join(d,string(rune('a'+i))+".vhdx"),&CreateOptions{Kind:Differencing,Parent:files[0],Size:sz,BlockSize:1<<(20+r.Intn(5)),ParentPath:"x.vhdx"}); if err!=nil{t.Fatal(err)}
  c,err:=NewChain(files...); if err!=nil{t.Fatal(err)}
  play(t,c,r)
  c.Sync()
  // relink after write
  if err:=Relink(f,&RelinkOptions{Parent:files[0],IgnoreMismatch:true});err!=nil{t.Fatal(err)}
  files=append([]*File{f},files...)
  sizes=append(sizes,sz)
 }
 c,err:=NewChain(files...); if err!=nil{t.Fatal(err)}
 play(t,c,r)
 want:=make([]byte,c.Size()); if _,err:=c.ReadAt(want,0);err!=nil{t.Fatal(err)}
 k:=1; if r.Intn(2)==0{ k=len(files)-1; err=MergeChain(context.Background(),c,nil)}else{err=Merge(context.Background(),files[0],files[1],nil)}
 if err!=nil{t.Fatal(seed,err)}
 m,err:=NewChain(files[k:]...); if err!=nil{t.Fatal(err)}
 if m.Size()!=c.Size(){t.Fatal("size")}
 got:=make([]byte,m.Size()); m.ReadAt(got,0)
 if !bytes.Equal(got,want){ for i:=range got{if got[i]!=want[i]{t.Fatalf("seed %d k %d at %x: %x %x sizes %v bs %d",seed,k,i,got[i],want[i],sizes,files[k].geo.BlockSize)}}}
 c2,err:=NewChain(files[:]...); if err!=nil{t.Fatal(err)}
 c2.ReadAt(got,0); if !bytes.Equal(got,want){t.Fatal("masked")}
 for _,f:=range files{ if err:=f.Close();err!=nil{t.Fatal(err)}}
 for _,f:=range files{
  h,_:=os.Open(f.path); st,_:=h.Stat(); rep,err:=Check(h,st.Size(),nil); h.Close(); if err!=nil||len(rep.Findings)>0{t.Fatal(seed,err,rep.Findings)}
  if !f.meta.HasParent{ out,err:=exec.Command("qemu-img","check",f.path).CombinedOutput(); if err!=nil{t.Fatal(string(out))}}
 }
 }
}
func play(t *testing.T,c *Chain,r *rand.Rand){
  for j:=0;j<20;j++{ off:=r.Int63n(c.Size()); n:=min(r.Int63n(3<<20),c.Size()-off); if r.Intn(3)==0{off&^=511; n&^=511}
   var err error
   switch r.Intn(4){
   case 0: err=c.ZeroRange(off,n*4%(c.Size()-off+1))
   case 1: err=c.TrimRange(off,n*4%(c.Size()-off+1))
   default: b:=make([]byte,n); r.Read(b); _,err=c.WriteAt(b,off)}
   if err!=nil{t.Fatal(err)}
  }
}
