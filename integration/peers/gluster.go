package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"hbmfs/integration/process"
)

// glusterHost is where a brick listens: a loopback address that the tools don't
// refuse.
const glusterHost = "127.1.1.1"

// glusterConf runs glusterd with nothing of it outside a directory.
const glusterConf = `volume management
    type mgmt/glusterd
    option working-directory %[1]s/state
    option run-directory %[1]s/run
    option glusterd-sockfile %[1]s/cli.sock
    option transport-type socket
    option transport.address-family inet
    option transport.socket.bind-address 127.0.0.1
    option transport.socket.listen-port %[2]s
end-volume
`

// gluster serves a dataset by GlusterFS: one brick, a volume of Debian's defaults,
// and its FUSE client. All of its processes are the bench's, in the foreground:
// glusterd only writes the volume's files.
func (s *stage) gluster(ctx context.Context, d dataset) (*side, error) {
	dir, err := os.MkdirTemp(s.scratch, "gluster-")
	if err != nil {
		return nil, err
	}
	s.undo.add(func() error { return os.RemoveAll(dir) })
	if err := d.write(ctx, filepath.Join(dir, "brick")); err != nil {
		return nil, err
	}
	if err := glusterVolume(ctx, dir); err != nil {
		return nil, fmt.Errorf("%w: %w", errLeftOut, err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	brick, err := s.startBrick(ctx, dir, port)
	return &side{mount: s.mountGluster(dir, port), target: brick}, err
}

// glusterVolume has a glusterd of its own write the files of a volume.
func glusterVolume(ctx context.Context, dir string) (err error) {
	port, err := freePort()
	if err != nil {
		return err
	}
	conf := filepath.Join(dir, "glusterd.vol")
	err = errors.Join(os.Mkdir(filepath.Join(dir, "state"), 0o755), os.Mkdir(filepath.Join(dir, "run"), 0o755),
		os.WriteFile(conf, fmt.Appendf(nil, glusterConf, dir, port), 0o644))
	if err != nil {
		return err
	}
	d, err := process.Start(process.Command("glusterd", "-N", "-f", conf, "-l", filepath.Join(dir, "glusterd.log"),
		"-p", filepath.Join(dir, "glusterd.pid")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	var created error
	err = d.Await(ctx, "a volume of it", func() bool {
		_, _, created = timed(ctx, "gluster", "--mode=script", "--log-file="+filepath.Join(dir, "cli.log"),
			"--glusterd-sock="+filepath.Join(dir, "cli.sock"), "volume", "create", "bench",
			glusterHost+":"+filepath.Join(dir, "brick"), "force")
		return created == nil
	})
	if err != nil {
		return errors.Join(err, created)
	}
	return nil
}

// volumeFile finds the one file of the volume that a pattern tells.
func volumeFile(dir, pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "state/vols/bench", pattern))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("glusterd wrote %d files %s", len(found), pattern)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// startBrick serves the brick at a port.
func (s *stage) startBrick(ctx context.Context, dir, port string) (*process.Process, error) {
	file, err := volumeFile(dir, "bench."+glusterHost+".*.vol")
	if err != nil {
		return nil, err
	}
	p, err := s.start("glusterfsd", "-N", "-f", file, "--brick-name", filepath.Join(dir, "brick"), "--brick-port", port,
		"--xlator-option", "bench-server.listen-port="+port, "-l", filepath.Join(dir, "brick.log"), "-p", filepath.Join(dir, "brick.pid"))
	if err != nil {
		return nil, err
	}
	return p, p.Await(ctx, "it listened", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort(glusterHost, port))
		if err == nil {
			err = c.Close()
		}
		return err == nil
	})
}

// mountGluster mounts the volume.
func (s *stage) mountGluster(dir, port string) func(context.Context) (served, error) {
	return func(ctx context.Context) (served, error) {
		file, err := volumeFile(dir, "trusted-bench.tcp-fuse.vol")
		if err != nil {
			return served{}, err
		}
		return s.mountBy(ctx, "glusterfs", func(at string) []string {
			return []string{"-N", "-f", file, "--xlator-option", "bench-client-0.remote-port=" + port,
				"-l", filepath.Join(dir, "client.log"), "-p", filepath.Join(dir, "client.pid"), at}
		})
	}
}
