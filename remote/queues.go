package remote

import "slices"

// queues are a target's, by the number of their transport.
type queues []*queue

func (all queues) pump() {
	for _, q := range all {
		q.pump()
	}
}

// close makes them take no more requests, and hand over none.
func (all queues) close() {
	for _, q := range all {
		q.close()
	}
}

// drain ends what waits, once no link is left and the queues are closed.
func (all queues) drain() {
	for _, q := range all {
		q.running.Wait() // it may move requests to another
	}
	for _, q := range all {
		q.drain()
	}
}

// put ends requests that were set aside, but for those whose memory another link
// serves by now. No lock may be held.
func put(aside []*op) {
	ended := aside[:0]
	var moved queues
	for _, o := range aside {
		if o.err != nil {
			ended = append(ended, o)
			continue
		}
		q := o.file.t.memories.queueOf(o.mem)
		q.mu.Lock()
		o.req.To = q
		q.push(o)
		q.length.Add(1)
		q.mu.Unlock()
		if !slices.Contains(moved, q) {
			moved = append(moved, q)
		}
	}
	for _, q := range moved {
		go q.pump() // it goes on for as long as that link takes requests
	}
	finishAll(ended)
}
