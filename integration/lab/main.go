// Command lab runs tests on real RDMA and real dma-bufs in two guests under
// QEMU, on a machine that has neither. See README.md beside it. It owns the
// guests, their wire, and the parts of the lane; what the tests ask of a guest
// goes through package integration/lab/guest.
//
// It never installs anything, changes no setting of the host, and leaves no
// process and, its cache aside, no file behind.
//
// Locking: none; a part runs after another.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"hbmfs/integration/lab/agent"
)

type options struct {
	part, exec string
	kernel     string
	soak       time.Duration
	kvm        bool
}

func main() {
	var o options
	flag.StringVar(&o.part, "part", "", "run this part only")
	flag.StringVar(&o.exec, "exec", "", "run this shell command in guest 1 of a new pair instead, in the current directory")
	flag.StringVar(&o.kernel, "kernel", "", "boot the newest kernel of this release, such as 7.3, instead of the usual one")
	flag.DurationVar(&o.soak, "soak", 0, "how long the soak tests run, instead of their own default")
	flag.BoolVar(&o.kvm, "kvm", false, "use KVM, which may be there and not work")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	code, err := o.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		code = 1
	}
	stop()
	os.Exit(code)
}

// run returns the exit status.
func (o options) run(ctx context.Context) (code int, err error) {
	chosen, err := chosen(o.part)
	if err != nil {
		return 1, err
	}
	l, err := newLab(ctx, o.kernel, o.kvm)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if o.exec != "" {
		return l.exec(ctx, o.exec)
	}
	if err := os.Chdir(l.source); err != nil {
		return 1, err
	}
	return 0, l.runParts(ctx, chosen, o.soak)
}

// exec runs a shell command in the first guest of a pair.
func (l *lab) exec(ctx context.Context, command string) (int, error) {
	dir, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	p, err := l.machine.bootPair(ctx)
	if err != nil {
		return 1, err
	}
	defer p.close()
	ctx, unwatch := p.watch(ctx)
	defer unwatch()
	exit, err := p[0].run(ctx, agent.Command{
		Argv: []string{"/bin/sh", "-c", command}, Env: l.env(), Dir: seenAs(dir), Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err != nil || exit.Code == 0 {
		return exit.Code, err
	}
	return 1, fmt.Errorf("the command: %v", exit)
}

// seenAs is where a guest sees a directory of the host. It has a /tmp, /run and
// /dev of its own.
func seenAs(dir string) string {
	for _, own := range []string{"/tmp/", "/run/", "/dev/"} {
		if strings.HasPrefix(dir+"/", own) {
			return hostRoot + dir
		}
	}
	return dir
}
