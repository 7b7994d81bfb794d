package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/integration/process"
)

// otherUser runs two of the five readers.
const otherUser = 65534

// startReaders starts the processes.
func (s *stage) startReaders(seed uint64) (err error) {
	if s.reader, err = copyForAll(s.logs); err != nil {
		return err
	}
	for i := range processes {
		p, err := s.startReader(i, seed)
		if err != nil {
			return err
		}
		s.readers = append(s.readers, p)
	}
	return nil
}

// startReader starts one.
func (s *stage) startReader(i int, seed uint64) (*process.Process, error) {
	cmd := s.command(readerCommand, i*threads, seed)
	if i >= processes-2 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: otherUser, Gid: otherUser}
	}
	return process.Start(cmd)
}

// command is what runs this program as another of a user's. What it prints is wrong.
func (s *stage) command(name string, slot int, seed uint64) *exec.Cmd {
	cmd := process.Command(s.reader, name, s.boardName(), s.mnt, strconv.Itoa(slot), strconv.FormatUint(seed, 10))
	cmd.Dir = "/"
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL // in the midst of a call that hangs, too
	cmd.Stdout, cmd.Stderr = &process.Lines{Each: func(line string) { s.wrong("%s", line) }}, os.Stderr
	return cmd
}

// killReader kills one, and starts another in its place.
func (s *stage) killReader(b *board, i int) error {
	s.end(s.readers[i], unix.SIGKILL)
	for j := range threads {
		b.threads[i*threads+j].began.Store(0)
	}
	p, err := s.startReader(i, uint64(now()))
	if err == nil {
		s.readers[i] = p
	}
	return err
}

// copyForAll puts this program where every user can run it.
func copyForAll(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "reader")
	return name, os.WriteFile(name, b, 0o755)
}

// endReaders tells the processes that it is over, and which of them hang. It may be
// called again.
func (s *stage) endReaders(b *board) {
	readers := s.readers
	s.readers = nil
	b.over.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	for i, p := range readers {
		select {
		case <-p.Done():
			if err := p.Wait(); err != nil {
				s.wrong("%v", err)
			}
		case <-ctx.Done():
			for j := range threads {
				t := &b.threads[i*threads+j]
				if t.began.Load() != 0 {
					s.wrong("reader %d does not end: thread %d is in %v of file %d", p.PID(), j, operation(t.what.Load()), t.file.Load())
				}
			}
			s.end(p, unix.SIGKILL)
		}
	}
}
