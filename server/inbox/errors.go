package inbox

import "errors"

var (
	// ErrNone: there is no such inbox.
	ErrNone = errors.New("no such capture")
	// ErrStranger: the inbox is another machine's.
	ErrStranger = errors.New("the capture is another machine's")
	// ErrFull: the inboxes, or the disk, have no room for more.
	ErrFull = errors.New("no room for more of the capture")
	// ErrFinished: the capture is finished and takes nothing else.
	ErrFinished = errors.New("the capture is finished")
	// ErrUnfinished: the machine has not sent all of it yet.
	ErrUnfinished = errors.New("the capture is not finished")
	// ErrOther: a call contradicts what is there.
	ErrOther = errors.New("the capture is another one")
	// ErrDamaged: a file of the inbox does not hold what was written to it.
	ErrDamaged = errors.New("the inbox is damaged")
)
