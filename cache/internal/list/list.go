// Package list has linked lists whose nodes are part of what they list: to move a
// value to another list allocates nothing and looks at no other value.
//
// Locking: none; lists are guarded by their users.
package list

// List is a doubly linked list. The zero List is empty.
type List[T any] struct {
	first, last *Node[T]
	n           int
}

// Node is a value's place in at most one list. Value must be set before it is in one.
type Node[T any] struct {
	Value *T

	prev, next *Node[T]
	in         *List[T]
}

// First is the first node, or nil.
func (l *List[T]) First() *Node[T] { return l.first }

// Len is how many nodes there are.
func (l *List[T]) Len() int { return l.n }

// Front is the value of the first node, or nil.
func (l *List[T]) Front() *T {
	if l.first == nil {
		return nil
	}
	return l.first.Value
}

// Next is the node after n in its list, or nil.
func (n *Node[T]) Next() *Node[T] { return n.next }

// In is the list that n is in, or nil.
func (n *Node[T]) In() *List[T] { return n.in }

// MoveTo takes n out of the list it is in and puts it at the end of l. It does
// nothing if n is in l already; with l nil it only takes n out.
func (n *Node[T]) MoveTo(l *List[T]) {
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

func (n *Node[T]) link(l *List[T]) {
	n.in, n.prev = l, l.last
	if l.last != nil {
		l.last.next = n
	} else {
		l.first = n
	}
	l.last = n
	l.n++
}

func (n *Node[T]) unlink() {
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
