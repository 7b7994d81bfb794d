package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"hbmfs/integration/process"
)

// otherUser runs two of the five readers.
const otherUser = 65534

// startReaders starts the processes; what they print is wrong. With an error it
// returns those that did start.
func (s *stage) startReaders(boardName string, seed uint64) ([]*process.Process, error) {
	self, err := copyForAll(s.logs)
	if err != nil {
		return nil, err
	}
	var readers []*process.Process
	for i := range processes {
		cmd := process.Command(self, readerCommand, boardName, s.mnt, strconv.Itoa(i*threads), strconv.FormatUint(seed, 10))
		cmd.Dir = "/"
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL // in the midst of a call that hangs, too
		cmd.Stdout, cmd.Stderr = &process.Lines{Each: func(line string) { s.wrong("%s", line) }}, os.Stderr
		if i >= processes-2 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: otherUser, Gid: otherUser}
		}
		p, err := process.Start(cmd)
		if err != nil {
			return readers, err
		}
		readers = append(readers, p)
	}
	return readers, nil
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

// endReaders tells the processes that it is over, and which of them hang.
func (s *stage) endReaders(b *board, readers []*process.Process) {
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
