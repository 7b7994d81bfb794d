package rdma

import "context"

// lifetime is the end of an open device, as its connections see it.
//
// A queue pair that can't be destroyed is on a device that the kernel takes away,
// with all that is on it, at some time. But who closes the device finds all of it
// destroyed: the last close of its file does that, or waits for the removal to
// (ib_uverbs_close and uverbs_destroy_ufile_hw, drivers/infiniband/core of Linux
// 6.12). So what such a queue pair may still write or read waits until every
// connection has given the device up and the last has closed it. This needs a
// provider library that unmaps the device's pages as it closes it, whatever else
// failed: a mapping keeps the file open.
type lifetime struct {
	removed context.Context // ends when the device goes
	remove  context.CancelFunc
	closed  chan struct{} // closed when it is
}

func newLifetime() lifetime {
	l := lifetime{closed: make(chan struct{})}
	l.removed, l.remove = context.WithCancel(context.Background())
	return l
}
