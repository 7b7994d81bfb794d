package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTools: the programs that people point at a file system behave on a mount
// as they do on a disk.
func TestTools(t *testing.T) {
	src, out := t.TempDir(), t.TempDir()
	makeTree(t, src)
	must(t, os.Remove(filepath.Join(src, "sparse"))) // 5 GiB to copy
	sh(t, src, `find . -type f -print0 | xargs -0 sha256sum > ../sums && mv ../sums sums`)
	sh(t, src, `git init -q repo && cd repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one &&
		head -c 300000 /dev/urandom > blob && git add blob && git -c user.name=a -c user.email=a@b commit -q -m two && git gc -q`)
	_, addr := startTarget(t, "127.0.0.1:0", "data="+src)
	m := startMount(t, addr+"/data")
	for name, script := range map[string]string{
		"cp -a":        `cp -a "$MNT" "$OUT/cp" && diff -r --no-dereference "$SRC/dir" "$OUT/cp/dir" && cmp "$SRC/f" "$OUT/cp/f"`,
		"tar":          `tar -C "$MNT" -cf "$OUT/t.tar" . && mkdir "$OUT/tar" && tar -C "$OUT/tar" -xpf "$OUT/t.tar" && diff -r --no-dereference "$SRC/dir" "$OUT/tar/dir" && test "$OUT/tar/f" -ef "$OUT/tar/dir/hard"`,
		"rsync":        `rsync -aH "$MNT/" "$OUT/rsync" && test -z "$(rsync -aHni --checksum --delete "$SRC/" "$OUT/rsync" | tee /dev/stderr)"`,
		"sha256sum -c": `cd "$MNT" && sha256sum --quiet -c sums`,
		"git fsck":     `git -c safe.directory='*' -C "$MNT/repo" fsck --full --strict && git -c safe.directory='*' -C "$MNT/repo" log --oneline | grep -c . | grep -qx 2`,
		"find -ls":     `cd "$MNT" && test "$(find . | wc -l)" = "$(cd "$SRC" && find . | wc -l)"`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath("rsync"); name == "rsync" && err != nil {
				unsupported(t, "no rsync: package rsync")
			}
			sh(t, "/", script, "MNT="+m.dir, "OUT="+out, "SRC="+src)
		})
	}
}

// TestGoBuild builds a program with GOROOT on the mount.
func TestGoBuild(t *testing.T) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	_, addr := startTarget(t, "127.0.0.1:0", "go="+string(goroot[:len(goroot)-1]))
	m := startMount(t, addr+"/go")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { println(\"built\") }\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module built\n"), 0o644))
	sh(t, dir, `"$GOROOT/bin/go" build -o built . && ./built 2>&1 | grep -qx built`,
		"GOROOT="+m.dir, "GOCACHE="+t.TempDir(), "GOFLAGS=", "GOTOOLCHAIN=local", "CGO_ENABLED=0")
}

func sh(t *testing.T, dir, script string, env ...string) {
	t.Helper()
	cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}
