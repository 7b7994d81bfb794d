package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hbmfs/integration/process"
	"hbmfs/integration/relay"
)

// endLimit is how long an unmount, and a mount's end after it, may take.
const endLimit = 20 * time.Second

// stage is a target, a network, a mount, and what went wrong with them.
type stage struct {
	hbmfs    string
	src, mnt string
	logs     string
	setting  setting
	listen   string       // the target's address
	relay    *relay.Relay // nil until it is up, as are target and mount, and where there is none
	pool     string
	target   *process.Process // one that has ended, if it did not start again; and so mount
	mount    *process.Process
	detached []*process.Process // mounts that were unmounted while in use
	struck   []string           // when each fault struck
	readers  []*process.Process
	reader   string // their program
	shared   int    // descriptors that the mount had of what it may share, before anybody came

	mu     sync.Mutex
	faults []string // guarded by mu: what must not be
}

// setting is what differs between rounds.
type setting struct {
	vouched bool // the user vouches for names
	crowded bool // the target has few descriptors
	calm    bool // faults are seldom
}

// settingOf takes turns, so that two rounds have each once.
func settingOf(round int) setting {
	return setting{vouched: round%2 == 1, crowded: round%3 == 1, calm: round%4 >= 2}
}

func (s setting) String() string {
	what := []string{"names are asked for"}
	if s.vouched {
		what[0] = fmt.Sprintf("names are vouched for, for %v", nameTimeout)
	}
	if s.crowded {
		what = append(what, fmt.Sprintf("the target has %d descriptors", fewDescriptors))
	}
	if s.calm {
		what = append(what, "faults are seldom")
	}
	return strings.Join(what, ", ")
}

const (
	nameTimeout = 2 * time.Second
	// belief is for how long an old name may be believed then: a mount that was stopped,
	// or cut off, learns of names late.
	belief         = nameTimeout + 5*time.Second
	fewDescriptors = 512
)

func (s *stage) wrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// start runs the program until it says ready, and gives its log a name.
func (s *stage) start(log, ready string, args ...string) (*process.Process, string, error) {
	out, err := os.OpenFile(filepath.Join(s.logs, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, "", err
	}
	defer out.Close()
	cmd := process.Command(args[0], args[1:]...)
	cmd.Stderr = out
	p, err := process.Start(cmd)
	if err != nil {
		return nil, "", err
	}
	line, err := p.AwaitLine(context.Background(), ready)
	if err != nil {
		return nil, "", fmt.Errorf("%w; see %s", errors.Join(err, p.End(unix.SIGKILL)), out.Name())
	}
	return p, line, nil
}

// end ends a process by a signal.
func (s *stage) end(p *process.Process, sig syscall.Signal) {
	if err := p.End(sig); err != nil {
		s.wrong("%v", err)
	}
}

func (s *stage) startTarget() error {
	args := []string{s.hbmfs, "serve", "--listen", s.listen, "data=" + s.src}
	if s.setting.crowded {
		args = append([]string{"prlimit", fmt.Sprintf("--nofile=%d", fewDescriptors)}, args...)
	}
	p, line, err := s.start("target.log", "serving ", args...)
	if err != nil {
		return err
	}
	s.target, s.listen = p, line[strings.LastIndexByte(line, ' ')+1:]
	return nil
}

func (s *stage) startMount() error {
	args := []string{s.hbmfs, "mount", "--foreground", "--allow-other", "--transport", "tcp", "--pool", s.pool}
	addr := s.listen
	if s.relay != nil {
		addr = s.relay.Addr()
	}
	if s.setting.vouched {
		args = append(args, "--name-timeout", nameTimeout.String())
	}
	p, _, err := s.start("mount.log", "mounted ", append(args, addr+"/data", s.mnt)...)
	if err != nil {
		return err
	}
	s.mount, s.shared = p, shared(p.PID())
	return nil
}

// revoke takes the device's memory from all users of the mount.
func (s *stage) revoke(b *board) {
	b.revoked[0].Add(1)
	if out, err := process.Command(s.hbmfs, "revoke", "--device", "0", s.mnt).CombinedOutput(); err != nil {
		s.wrong("hbmfs revoke: %v: %s", err, out)
	}
	b.revoked[1].Add(1)
}

// umount has hbmfs unmount what is there.
func (s *stage) umount() {
	began := time.Now()
	out, err := process.Command(s.hbmfs, "umount", s.mnt).CombinedOutput()
	if took := time.Since(began); took > endLimit {
		s.wrong("hbmfs umount took %v", took)
	}
	// In use is an answer: then it is detached.
	if err != nil && errors.Is(unix.Unmount(s.mnt, unix.MNT_DETACH), unix.EINVAL) {
		s.wrong("hbmfs umount: %v: %s", err, out)
	}
}

// tearDown ends everything that is up, and says what of it would not end.
func (s *stage) tearDown() {
	s.umount() // even a mount that was not ready in time
	s.endMounts()
	if s.target != nil {
		s.end(s.target, unix.SIGTERM)
	}
	if s.relay != nil {
		s.relay.Close()
	}
	if process.IsMounted(s.mnt) {
		s.wrong("%s is still mounted", s.mnt)
	}
}

// endMounts waits for what umount and detaching ended.
func (s *stage) endMounts() {
	all := s.detached
	if s.mount != nil {
		all = append(all, s.mount)
	}
	for _, p := range all {
		select {
		case <-p.Done():
		case <-time.After(endLimit):
			s.wrong("mount's daemon %d lives on, though nothing uses it; its log has its stacks", p.PID())
			s.end(p, unix.SIGQUIT)
		}
	}
}
