package main

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hbmfs/integration/lab/agent"
)

// TestRunUntil: a program that hangs is asked for its goroutines.
func TestRunUntil(t *testing.T) {
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- agent.ServeConn(there) }()
	c, err := agent.NewClient(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{number: 1, agent: c, console: filepath.Join(t.TempDir(), "console")}
	var out bytes.Buffer
	run := func(script string) agent.Exit {
		t.Helper()
		exit, err := g.runUntil(t.Context(), time.After(200*time.Millisecond), agent.Command{
			Argv: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out,
		})
		if err != nil {
			t.Fatal(err)
		}
		return exit
	}
	if exit := run("exit 3"); exit.Code != 3 || out.Len() != 0 {
		t.Errorf("%v: %s", exit, &out)
	}
	if exit := run(`trap "echo goroutines; exit 2" QUIT; while :; do sleep 0.05; done`); exit.Code != 2 || strings.TrimSpace(out.String()) != "goroutines" {
		t.Errorf("%v: %s", exit, &out)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
