// Package ctl serves the control socket, .hbmfs/ctl: it hands descriptors of regions to
// the programs of the user that they belong to, tells the mount's counters, and keeps
// what programs have by their connections ([Conn.Keep]) until those end.
//
// It binds the socket by another process (binder.go): no thread of this one waits in the
// kernel for its own mount. It knows no FUSE: the directory that the socket is in is its
// caller's ([Dir]), and so is what further requests mean ([Op]).
//
// Locking: Server.mu guards the connections, Conn.mu what a connection keeps. Neither is
// held while anything is closed or answered.
package ctl

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"hbmfs/cache"
	"hbmfs/fs/beside"
	"hbmfs/fs/mountwatch"
	"hbmfs/fs/uapi"
	"hbmfs/transport/limits"
	"hbmfs/transport/logging"
)

// Where the socket is, or a link to it, in every directory of a mount.
const (
	DirName    = ".hbmfs"
	SocketName = beside.Socket
)

// acceptPause is how long to leave clients waiting when no more can be taken,
// such as for want of descriptors.
const acceptPause = 100 * time.Millisecond

// endWait bounds how long the end of the socket waits for its clients. Any descriptor may
// come with a request, also of a file system that its sender serves: what is done with it,
// close(2) with its FLUSH too, waits for him.
const endWait = 2 * time.Second

// Dir is the directory of the mount that the socket is in. Its methods may be called
// concurrently with requests of the kernel's.
type Dir interface {
	// Admit is told who alone may make the socket's inode from now on; nil: nobody.
	Admit(b *Binder)
	// LeadTo has the directory show a link to a socket elsewhere.
	LeadTo(path string)
}

// Config says what to serve, and where.
type Config struct {
	Mountpoint string
	Dir        Dir
	// Inside has the socket in the mount itself, and not beside it.
	Inside bool
	// ExportDMABuf hands out dma-bufs too, which can be written.
	ExportDMABuf bool
	// AllowOther lets users other than the daemon's reach a socket beside the mount.
	AllowOther bool
	Cache      *cache.Cache
	// Stats returns what CTL_STATS tells, for encoding/json.
	Stats func() any
	// Ops are the requests that are not of this package, by their op.
	Ops map[uint32]Op
	// Clients bounds connections, by user.
	Clients *limits.Limit
	Log     *slog.Logger
	// Limited is the log of what clients can cause.
	Limited *logging.Limiter
}

// Server listens on the socket for as long as the mount is visible.
type Server struct {
	cfg      Config
	listener *net.UnixListener
	clone    *os.File    // detached clone of the mount; nil if the socket is not in it
	beside   *beside.Dir // of the socket; nil if it is in the mount
	watch    *mountwatch.Watch
	wg       sync.WaitGroup
	ending   sync.Once

	mu     sync.Mutex
	conns  map[*Conn]*limits.Share // guarded by mu; of each one's user
	closed bool                    // guarded by mu
}

// Start binds the socket and serves it. It ends by itself once the mount is visible
// no more.
func Start(cfg Config) (s *Server, err error) {
	s = &Server{cfg: cfg, conns: make(map[*Conn]*limits.Share)}
	if s.watch, err = mountwatch.New(cfg.Mountpoint); err != nil {
		return nil, err
	}
	if cfg.Inside {
		err = s.bindInside()
	} else {
		err = s.bindBeside()
	}
	if err != nil {
		s.watch.Close()
		return nil, errors.Join(fmt.Errorf("control socket of %s: %w", cfg.Mountpoint, err), s.dropPlace())
	}
	s.wg.Go(s.accept)
	go func() {
		s.watch.Wait()
		s.Close()
	}()
	return s, nil
}

// Close returns once nothing is left of the socket, whoever else closes it: the
// process may end then. A client whose request does not end is not waited for.
func (s *Server) Close() { s.ending.Do(s.end) }

func (s *Server) end() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.socket.Close()
	}
	s.mu.Unlock()
	s.watch.Close()
	s.listener.Close()
	if !s.awaitClients() {
		s.cfg.Log.Warn("a client's request does not end, maybe because of a descriptor that came with it; the socket ends without that")
	}
	if err := s.dropPlace(); err != nil {
		s.cfg.Log.Warn("close the place of the control socket", "error", err)
	}
}

// awaitClients reports false if one is served still after endWait.
func (s *Server) awaitClients() bool {
	served := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(served)
	}()
	select {
	case <-served:
		return true
	case <-time.After(endWait):
		return false
	}
}

func (s *Server) accept() {
	for {
		socket, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Limited.Warn("accept on the control socket", "", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		s.admit(socket)
	}
}

func (s *Server) admit(socket *net.UnixConn) {
	peer, err := peerOf(socket)
	c := &Conn{Peer: peer, socket: socket}
	switch {
	case err != nil:
		s.cfg.Limited.Warn("credentials of a client of the control socket", "", "error", err)
	default:
		errno := s.enter(c)
		if errno == 0 {
			s.wg.Go(func() { s.serve(c) })
			return
		}
		_ = c.send(Reply{Head: uapi.CtlReply{Error: int32(errno)}})
	}
	socket.Close()
}

// enter admits a client, or returns EMFILE, if its user has too many connections already,
// or ENOTCONN, if the mount ends.
func (s *Server) enter(c *Conn) syscall.Errno {
	share, err := s.cfg.Clients.Take(c.User(), 1)
	if err != nil {
		return syscall.EMFILE
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		share.Leave()
		return syscall.ENOTCONN
	}
	s.conns[c] = share
	return 0
}

// leave ends what the connection keeps, and then its place among the user's.
func (s *Server) leave(c *Conn) {
	c.socket.Close()
	c.end()
	s.mu.Lock()
	share := s.conns[c]
	delete(s.conns, c)
	s.mu.Unlock()
	share.Leave()
}
