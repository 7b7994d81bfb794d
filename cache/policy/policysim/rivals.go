package main

import (
	"container/heap"
	"container/list"

	"hbmfs/cache/policy"
)

// cache holds as many keys as it was made for.
type cache interface {
	// access returns whether the key is there, and brings it if not.
	access(key uint64) bool
}

// policies are ours first, and the best possible last. All know the trace, but
// only that one looks at it.
var policies = []struct {
	name string
	make func(room int, keys []uint64) cache
}{
	{"hbmfs", newOurs},
	{"LRU", newLRU},
	{"SIEVE", newSieve},
	{"S3-FIFO", newS3},
	{"Belady", newBelady},
}

type ours struct {
	room  int
	p     policy.Policy
	q     policy.Queue[thing]
	table map[uint64]*thing
}

type thing struct {
	key   uint64
	entry policy.Entry[thing]
}

func newOurs(room int, _ []uint64) cache {
	c := &ours{room: room, table: make(map[uint64]*thing)}
	c.q.Init(&c.p)
	c.p.Resize(room)
	return c
}

func (c *ours) access(key uint64) bool {
	if t := c.table[key]; t != nil {
		c.q.Hit(&t.entry)
		c.q.Busy(&t.entry)
		c.q.Idle(&t.entry, len(c.table) < c.room)
		return true
	}
	if len(c.table) == c.room {
		v := c.q.Victim()
		c.q.Remove(v)
		delete(c.table, v.Value.key)
	}
	t := &thing{key: key}
	t.entry.Value = t
	c.q.Add(&t.entry, key)
	c.table[key] = t
	c.q.Idle(&t.entry, len(c.table) < c.room)
	return false
}

type lru struct {
	room  int
	order *list.List
	table map[uint64]*list.Element
}

func newLRU(room int, _ []uint64) cache {
	return &lru{room, list.New(), make(map[uint64]*list.Element)}
}

func (c *lru) access(key uint64) bool {
	if e := c.table[key]; e != nil {
		c.order.MoveToBack(e)
		return true
	}
	if len(c.table) == c.room {
		delete(c.table, c.order.Remove(c.order.Front()).(uint64))
	}
	c.table[key] = c.order.PushBack(key)
	return false
}

// sieve is SIEVE, of Zhang and others, NSDI 2024.
type sieve struct {
	room  int
	order *list.List // of *sieved, the newest in front
	hand  *list.Element
	table map[uint64]*list.Element
}

type sieved struct {
	key     uint64
	visited bool
}

func newSieve(room int, _ []uint64) cache {
	return &sieve{room: room, order: list.New(), table: make(map[uint64]*list.Element)}
}

func (c *sieve) access(key uint64) bool {
	if e := c.table[key]; e != nil {
		e.Value.(*sieved).visited = true
		return true
	}
	if len(c.table) == c.room {
		c.evict()
	}
	c.table[key] = c.order.PushFront(&sieved{key: key})
	return false
}

func (c *sieve) evict() {
	at := c.hand
	if at == nil {
		at = c.order.Back()
	}
	for at.Value.(*sieved).visited {
		at.Value.(*sieved).visited = false
		if at = at.Prev(); at == nil {
			at = c.order.Back()
		}
	}
	c.hand = at.Prev()
	delete(c.table, c.order.Remove(at).(*sieved).key)
}

// s3 is S3-FIFO, of Yang and others, SOSP 2023: a tenth is the small queue.
type s3 struct {
	room, small       int
	fresh, main, gone *list.List // of *s3thing, the oldest in front
	table             map[uint64]*s3thing
	ghosts            map[uint64]*list.Element
}

type s3thing struct {
	key  uint64
	freq int
}

func newS3(room int, _ []uint64) cache {
	return &s3{
		room: room, small: max(1, room/10), fresh: list.New(), main: list.New(), gone: list.New(),
		table: make(map[uint64]*s3thing), ghosts: make(map[uint64]*list.Element),
	}
}

func (c *s3) access(key uint64) bool {
	if t := c.table[key]; t != nil {
		t.freq = min(t.freq+1, 3)
		return true
	}
	for len(c.table) >= c.room {
		if c.fresh.Len() >= c.small || c.main.Len() == 0 {
			c.evictFresh()
		} else {
			c.evictMain()
		}
	}
	t := &s3thing{key: key}
	c.table[key] = t
	if g := c.ghosts[key]; g != nil {
		c.gone.Remove(g)
		delete(c.ghosts, key)
		c.main.PushBack(t)
	} else {
		c.fresh.PushBack(t)
	}
	return false
}

func (c *s3) evictFresh() {
	t := c.fresh.Remove(c.fresh.Front()).(*s3thing)
	if t.freq > 1 {
		t.freq = 0
		c.main.PushBack(t)
		return
	}
	delete(c.table, t.key)
	c.ghosts[t.key] = c.gone.PushBack(t.key)
	if c.gone.Len() > c.room-c.small {
		delete(c.ghosts, c.gone.Remove(c.gone.Front()).(uint64))
	}
}

func (c *s3) evictMain() {
	t := c.main.Remove(c.main.Front()).(*s3thing)
	if t.freq > 0 {
		t.freq--
		c.main.PushBack(t)
		return
	}
	delete(c.table, t.key)
}

// belady evicts what is used again last. It may also not keep what it brings.
type belady struct {
	room  int
	at    int
	next  []int // of each access, when its key comes next
	table map[uint64]int
	heap  farthest
}

func newBelady(room int, keys []uint64) cache {
	c := &belady{room: room, next: make([]int, len(keys)), table: make(map[uint64]int)}
	last := make(map[uint64]int)
	for i := len(keys) - 1; i >= 0; i-- {
		c.next[i] = 2 * len(keys)
		if n, ok := last[keys[i]]; ok {
			c.next[i] = n
		}
		last[keys[i]] = i
	}
	return c
}

func (c *belady) access(key uint64) bool {
	next := c.next[c.at]
	c.at++
	_, hit := c.table[key]
	c.table[key] = next
	heap.Push(&c.heap, use{key, next})
	for len(c.table) > c.room {
		u := heap.Pop(&c.heap).(use)
		if c.table[u.key] == u.next {
			delete(c.table, u.key)
		}
	}
	return hit
}

type use struct {
	key  uint64
	next int
}

type farthest []use

func (h farthest) Len() int           { return len(h) }
func (h farthest) Less(i, j int) bool { return h[i].next > h[j].next }
func (h farthest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *farthest) Push(x any)        { *h = append(*h, x.(use)) }

func (h *farthest) Pop() any {
	last := len(*h) - 1
	u := (*h)[last]
	*h = (*h)[:last]
	return u
}
