package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is one QEMU of a VM: a VM has a second one if the first hung before init.
type process struct {
	cmd  *exec.Cmd
	ctx  context.Context // its cause tells why QEMU was killed
	stop context.CancelCauseFunc
	free context.CancelFunc
	vars []byte // the firmware's variables before the start
}

// launch starts QEMU and the watch over it.
func (v *VM) launch() (*process, error) {
	p := &process{}
	if v.vars != "" {
		var err error
		if p.vars, err = os.ReadFile(v.vars); err != nil {
			return nil, fmt.Errorf("firmware variables: %w", err)
		}
	}
	life := orDefault(v.config.Timeout, 3*time.Minute)
	p.ctx, p.free = context.WithTimeoutCause(v.ctx, life, ErrTimeout)
	p.ctx, p.stop = context.WithCancelCause(p.ctx)
	p.cmd = exec.CommandContext(p.ctx, v.args[0], v.args[1:]...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p.cmd.Stdout, p.cmd.Stderr = v.log, v.log
	p.cmd.WaitDelay = 5 * time.Second
	v.boot.begin(func() { v.silent(p) })
	var err error
	if v.config.Stdin != nil {
		p.cmd.Stdin = v.config.Stdin
	} else { // nobody writes to it: at the end of a file QEMU would close the serial line
		_, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		v.boot.end()
		p.free()
		return nil, fmt.Errorf("starting %s: %w", v.args[0], err)
	}
	v.mu.Lock()
	v.cmd = p.cmd
	v.mu.Unlock()
	return p, nil
}

// heard gets each line of the serial log.
func (v *VM) heard(line string) {
	v.boot.line(line)
	if v.config.OnLine != nil {
		v.config.OnLine(line)
	}
}

// silent is called when the time in which the guest's own programs must have said a line is over.
func (v *VM) silent(p *process) {
	// A prompt has no end of line, but it is something said.
	if rest := v.log.unfinished(); rest != "" && v.boot.line(rest) {
		return
	}
	p.stop(v.boot.hung())
}

// follow waits for the end of QEMU, and starts it once more where it hung and that is safe.
func (v *VM) follow(p *process) {
	for try := 1; ; try++ {
		err := p.cmd.Wait()
		v.boot.end()
		v.ended = context.Cause(p.ctx)
		p.free()
		if try == 1 && errors.Is(v.ended, ErrHungBeforeInit) && v.ctx.Err() == nil {
			var second *process
			if second, err = v.again(p); second != nil {
				p = second
				continue
			}
		}
		v.waitErr = errors.Join(err, v.log.close())
		v.cancel(nil)
		close(v.done)
		return
	}
}

// again starts QEMU a second time if the guest did nothing yet that another start would show.
// It tells so on standard error: a hang must not go by unseen.
func (v *VM) again(hung *process) (*process, error) {
	if !v.boot.repeatable() {
		fmt.Fprintf(os.Stderr, "\nvm: %s: %v; NOT STARTED AGAIN, others may have seen this start\n",
			v.name, v.ended)
		return nil, v.ended
	}
	note := fmt.Sprintf("\nvm: %s: %v; STARTED ONCE MORE\n", v.name, v.ended)
	fmt.Fprintf(os.Stderr, "%svm: what hung: %s\n", note, v.CommandLine())
	v.log.add([]byte(note))
	if v.vars != "" {
		if err := os.WriteFile(v.vars, hung.vars, 0o600); err != nil {
			return nil, fmt.Errorf("firmware variables: %w", err)
		}
	}
	return v.launch()
}
