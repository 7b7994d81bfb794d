package cache

// list is a doubly linked list whose nodes are part of what they list. The zero
// list is empty.
type list[T any] struct {
	first, last *node[T]
	n           int
}

// node is a value's place in at most one list.
type node[T any] struct {
	prev, next *node[T]
	in         *list[T]
	value      *T
}

// front is the value of the first node, or nil.
func (l *list[T]) front() *T {
	if l.first == nil {
		return nil
	}
	return l.first.value
}

// moveTo takes n out of the list it is in and puts it at the end of l. It does
// nothing if n is in l already; with l nil it only takes n out.
func (n *node[T]) moveTo(l *list[T]) {
	if n.in == l {
		return
	}
	if n.in != nil {
		n.unlink()
	}
	if l != nil {
		n.link(l)
	}
}

func (n *node[T]) link(l *list[T]) {
	n.in, n.prev = l, l.last
	if l.last != nil {
		l.last.next = n
	} else {
		l.first = n
	}
	l.last = n
	l.n++
}

func (n *node[T]) unlink() {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		n.in.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		n.in.last = n.prev
	}
	n.in.n--
	n.in, n.prev, n.next = nil, nil, nil
}
