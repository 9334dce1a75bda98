package onwindows

import (
	"context"
	"errors"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"troy/internal/errline"
)

// makeService makes the service. One that is there already is the same.
func makeService(program string) (err error) {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer func() { err = errline.Join(err, m.Disconnect()) }()
	s, err := m.CreateService(ServiceName, program, mgr.Config{StartType: mgr.StartAutomatic,
		ErrorControl: mgr.ErrorNormal, DisplayName: ServiceTitle}, ServiceArgs()...)
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_EXISTS):
		return nil
	case err != nil:
		return err
	}
	return s.Close()
}

// Serve is what the service runs. It returns when Windows stops the service.
func Serve(ctx context.Context) error {
	h := &handler{ctx: ctx}
	if err := svc.Run(ServiceName, h); err != nil {
		return err
	}
	return h.err
}

// handler answers Windows while a start is at work.
type handler struct {
	ctx context.Context
	err error // of the start
}

// Execute implements svc.Handler.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- started(ctx) }()
	running := svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	status <- running
	for {
		select {
		case h.err = <-done:
			if h.err != nil {
				return false, 1
			}
			return false, 0
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				// What is at work is left to itself: Windows ends it.
				return false, 0
			}
		}
	}
}
