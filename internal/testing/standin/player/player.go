package player

import (
	"context"

	"troy/gates"
	"troy/trial/inside"
)

// End is what a start comes to.
type End string

// Ends.
const (
	PowerOff End = "power off" // all was closed in order
	Restart  End = "restart"   // all was closed in order
	Hang     End = "hang"      // Windows does not come up, or goes on until the power is cut
)

// Options tell what PC there is. All are required, but PC.
type Options struct {
	Disks []string                         // its disks, or image files
	Discs []string                         // its CD drives, or images of discs; the first with an order counts
	Say   func(format string, args ...any) // told each step, a line each
	PC    gates.PC                         // what is known of it; Run adds its Windows
}

// Run plays one start. It returns when the PC is to be switched off or restarted, and else when ctx
// ends, which is the power cut.
func Run(ctx context.Context, o *Options) End {
	end := run(ctx, o)
	if end == Hang {
		<-ctx.Done()
	}
	return end
}

func run(ctx context.Context, o *Options) End {
	d, err := openDisk(o)
	if err != nil {
		o.Say("Windows does not come up: %v", err)
		return Hang
	}
	defer d.target.Close()
	if err := d.look(); err != nil {
		o.Say("Windows does not come up: %v", err)
		return Hang
	}
	s, err := d.start()
	if err != nil {
		o.Say("fault: %v", err)
		return Hang
	}
	end, err := s.play(ctx)
	if err != nil {
		o.Say("fault: %v", err)
		return Hang
	}
	return end
}

// play is a session: setup, then the order, then the end.
func (s *session) play(ctx context.Context) (End, error) {
	phase, err := s.setup()
	if err != nil {
		return Hang, err
	}
	if phase == "" {
		return Restart, s.close()
	}
	s.say("Windows is up, phase %s", phase)
	order, err := findOrder(s.o.Discs)
	if err != nil {
		s.say("no order: %v", err)
		return PowerOff, s.close()
	}
	if err := s.carryOut(ctx, order, phase); err != nil {
		return Hang, err
	}
	if order.Wants(inside.Stay) {
		return Hang, s.stay(ctx)
	}
	return PowerOff, s.close()
}
