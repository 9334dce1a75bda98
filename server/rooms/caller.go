package rooms

import (
	"context"
	"fmt"
	"sync"
)

// callsAtOnce is how many machines a Waker is told of at once: a server that ends waits for these.
const callsAtOnce = 10

// caller sends wake-up calls in the background, one after the other. A machine is in its queue once
// at most, which bounds it.
type caller struct {
	send func(calls []Call)

	mu     sync.Mutex
	queue  []Call
	queued map[string]bool // by the first MAC address
	closed bool
	work   sync.WaitGroup
}

// add puts calls into the queue, and sees to it that somebody sends them.
func (c *caller) add(calls []Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	idle := c.queued == nil
	if idle {
		c.queued = map[string]bool{}
	}
	for _, call := range calls {
		if !c.queued[call.MACs[0]] {
			c.queued[call.MACs[0]] = true
			c.queue = append(c.queue, call)
		}
	}
	if idle {
		c.work.Go(c.run)
	}
}

func (c *caller) run() {
	for calls := c.next(); len(calls) > 0; calls = c.next() {
		c.send(calls)
	}
}

// next takes calls from the queue; none means that whoever adds some begins anew.
func (c *caller) next() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), callsAtOnce)
	calls := c.queue[:n]
	c.queue = c.queue[n:]
	for _, call := range calls {
		delete(c.queued, call.MACs[0])
	}
	if n == 0 {
		c.queue, c.queued = nil, nil
	}
	return calls
}

// close gives up what is in the queue, and waits for those that are being called.
func (c *caller) close() {
	c.mu.Lock()
	c.closed, c.queue = true, nil
	c.mu.Unlock()
	c.work.Wait()
}

// call wakes machines in the background, and remembers that it does.
func (k *Keeper) call(calls []Call) {
	if len(calls) == 0 {
		return
	}
	k.called(calls)
	k.caller.add(calls)
}

// called notes that machines are called now.
func (k *Keeper) called(calls []Call) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range calls {
		w := k.woken[c.MACs[0]]
		w.last = k.o.Now()
		k.woken[c.MACs[0]] = w
	}
}

// send calls machines. They may have waited in the queue for long: their time counts from now.
func (k *Keeper) send(calls []Call) {
	k.called(calls)
	if err := k.o.Waker.Wake(context.Background(), calls); err != nil {
		k.o.OnNote(fmt.Sprintf("machines could not be woken: %v", err))
	}
}
