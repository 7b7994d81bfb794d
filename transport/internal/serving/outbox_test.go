package serving

import (
	"context"
	"slices"
	"sync"
	"testing"
)

// TestOutboxRoom has room for three: what is pushed together is sent together, in
// order, and no more than there is room for.
func TestOutboxRoom(t *testing.T) {
	var sent [][]int
	o := NewOutbox(3, func(items []int) { sent = append(sent, slices.Clone(items)) })
	o.Push(1, 2)
	o.Push(3, 4, 5)
	o.Flush()
	o.Flush()
	o.Sent(1)
	o.Flush()
	o.Sent(2)
	o.Flush()
	want := [][]int{{1, 2, 3}, {4}, {5}}
	if !slices.EqualFunc(sent, want, slices.Equal[[]int]) {
		t.Errorf("sent %v, want %v", sent, want)
	}
}

// TestOutboxHasOneSender: what is flushed while someone sends is sent by him, and
// Wait is for him.
func TestOutboxHasOneSender(t *testing.T) {
	entered, gate := make(chan struct{}, 2), make(chan struct{})
	var sent []int
	o := NewOutbox(9, func(items []int) {
		entered <- struct{}{}
		<-gate
		sent = append(sent, items...)
	})
	o.Wait() // for nobody
	var sender sync.WaitGroup
	o.Push(1)
	sender.Go(o.Flush)
	<-entered
	o.Push(2)
	o.Flush() // returns at once
	close(gate)
	<-entered
	o.Wait()
	if want := []int{1, 2}; !slices.Equal(sent, want) {
		t.Errorf("sent %v, want %v", sent, want)
	}
	sender.Wait()
}

func TestOutboxAllocatesNothing(t *testing.T) {
	var o *Outbox[*int]
	o = NewOutbox(2, func(items []*int) { o.Sent(len(items)) })
	var i int
	if n := testing.AllocsPerRun(100, func() {
		o.Push(&i, &i)
		o.Push(&i)
		o.Flush()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPoolEnds: what waits when the context ends is dropped.
func TestPoolEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	served := 0
	p := NewPool(ctx, func(int) {
		mu.Lock()
		served++
		mu.Unlock()
		<-ctx.Done()
	})
	for i := range maxWorkers + maxQueued {
		p.Hand(i)
	}
	cancel()
	p.Hand(0)
	p.Close()
	if served > maxWorkers {
		t.Errorf("%d were served, by %d workers", served, maxWorkers)
	}
}
