package tool_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"troy/internal/tool"
)

// envKilled has this test program run a tool until it is killed.
const envKilled = "TROY_TEST_TOOL_KILLED"

// A program does not outlive the one that runs it, not even if that is killed.
func TestEndsWithItsParent(t *testing.T) {
	if os.Getenv(envKilled) != "" {
		c := &tool.Command{Name: "sh", Args: []string{"-c", "echo up; exec sleep 60"}, Stdout: os.Stdout}
		t.Fatal(tool.Run(t.Context(), c))
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEndsWithItsParent$")
	parent.Env, parent.Stdout = append(os.Environ(), envKilled+"=1"), w
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(r)
	if line, err := said.ReadString('\n'); line != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("it was not killed")
	}
	// The pipe ends with the last program that has it.
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(said); err != nil {
		t.Errorf("the program runs on: %v", err)
	}
}
