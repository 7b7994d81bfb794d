package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"hbmfs/fs/client"
	"hbmfs/integration/process"
)

// connections is how many a mount has to its target: as many as nbdcopy.
const connections = 4

// build builds hbmfs from this tree.
func (b *bench) build(ctx context.Context) error {
	b.hbmfs = filepath.Join(b.scratch, "hbmfs")
	_, _, err := timed(ctx, "go", "build", "-o", b.hbmfs, "hbmfs/cmd/hbmfs")
	return err
}

// startTarget serves the exports (NAME=PATH) in a process of their own and
// returns its address.
func (s *stage) startTarget(ctx context.Context, exports ...string) (addr string, err error) {
	_, addr, err = s.serve(ctx, s.hbmfs, exports...)
	return addr, err
}

// serve is startTarget of any hbmfs program, and tells of the process too.
func (s *stage) serve(ctx context.Context, program string, exports ...string) (*process.Process, string, error) {
	p, err := s.start(program, append([]string{"serve", "--listen", "127.0.0.1:0"}, exports...)...)
	if err != nil {
		return nil, "", err
	}
	line, err := p.AwaitLine(ctx, "serving ")
	return p, line[strings.LastIndex(line, " ")+1:], err
}

// hbmfsMount is a mount, its daemon, and the bench's connection to it.
type hbmfsMount struct {
	*process.Process
	dir    string
	client *client.Mount
}

func (m *hbmfsMount) path(name string) string { return filepath.Join(m.dir, name) }

// close hangs up, unmounts and waits for the daemon's end.
func (m *hbmfsMount) close() error {
	var err error
	if m.client != nil {
		err = m.client.Close()
	}
	return errors.Join(err, detach(m.dir), m.Stop())
}

// mountTCP serves the bench's files and mounts them over tcp. Flags override
// the bench's own.
func (s *stage) mountTCP(ctx context.Context, checksums bool, flags ...string) (*hbmfsMount, error) {
	target, err := s.startTarget(ctx, "bench="+s.data)
	if err != nil {
		return nil, err
	}
	flag := "--checksums=off"
	if checksums {
		flag = "--checksums=on"
	}
	return s.mountHbmfs(ctx, target+"/bench", poolSize, append(flags, flag)...)
}

// mountHbmfs mounts a source until the end of the row.
func (s *stage) mountHbmfs(ctx context.Context, source string, pool int64, flags ...string) (*hbmfsMount, error) {
	m, err := s.mountNow(ctx, source, pool, flags...)
	if err == nil {
		s.undo.add(m.close)
	}
	return m, err
}

// mountNow mounts a source and returns once the mount answers. The caller closes
// it.
func (s *stage) mountNow(ctx context.Context, source string, pool int64, flags ...string) (*hbmfsMount, error) {
	return s.mountWith(ctx, s.hbmfs, source, pool, append([]string{
		fmt.Sprintf("--extent=%d", extent), fmt.Sprintf("--connections=%d", connections)}, flags...)...)
}

// mountWith is mountNow of any hbmfs program, with that program's defaults.
func (s *stage) mountWith(ctx context.Context, program, source string, pool int64, flags ...string) (*hbmfsMount, error) {
	dir, err := s.mountPoint()
	if err != nil {
		return nil, err
	}
	args := append([]string{"mount", source, dir, "--foreground", fmt.Sprintf("--pool=%d", pool)}, flags...)
	p, err := process.Start(process.Command(program, args...))
	if err != nil {
		return nil, err
	}
	m := &hbmfsMount{Process: p, dir: dir}
	if err := m.connect(ctx); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// connect waits until the mount answers.
func (m *hbmfsMount) connect(ctx context.Context) (err error) {
	if _, err := m.AwaitLine(ctx, "mounted "); err != nil {
		return err
	}
	m.client, err = client.OpenMount(m.dir)
	return err
}

// allocations is how many objects the daemon has allocated so far.
func (m *hbmfsMount) allocations() (float64, error) {
	text, err := m.client.Stats()
	if err != nil {
		return 0, err
	}
	var stats struct {
		Allocations float64 `json:"allocations"`
	}
	if err := json.Unmarshal(text, &stats); err != nil {
		return 0, fmt.Errorf("stats of %s: %w", m.dir, err)
	}
	return stats.Allocations, nil
}

// fresh mounts a source.
func (s *stage) fresh(source string) mounting {
	return func(ctx context.Context) (string, func() error, error) {
		m, err := s.mountNow(ctx, source, poolSize)
		if err != nil {
			return "", nil, err
		}
		return m.dir, m.close, nil
	}
}
