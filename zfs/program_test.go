package zfs

import (
	"context"
	"slices"
	"sync"
	"testing"
)

// TestPrograms: requests that come while a program runs are put into one program together.
func TestPrograms(t *testing.T) {
	started, end := make(chan []string), make(chan struct{})
	p := &programs{run: func(_ context.Context, calls []string) ([]reply, error) {
		started <- calls
		<-end
		replies := make([]reply, len(calls))
		for i, c := range calls {
			replies[i].What = c
		}
		return replies, nil
	}}
	var wait sync.WaitGroup
	ask := func(call string) {
		wait.Go(func() {
			if r, err := p.do(t.Context(), call); err != nil || r.What != call {
				t.Errorf("%s was answered %+v, %v", call, r, err)
			}
		})
	}
	ask("a")
	if got := <-started; !slices.Equal(got, []string{"a"}) {
		t.Errorf("the first program got %q", got)
	}
	ask("b")
	ask("c")
	for p.queued() < 2 {
		select {
		case <-t.Context().Done():
			t.Fatal("the requests do not come")
		default:
		}
	}
	end <- struct{}{}
	if got := <-started; len(got) != 2 {
		t.Errorf("the second program got %q", got)
	}
	close(end)
	wait.Wait()
}

func (p *programs) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

func TestLua(t *testing.T) {
	for text, want := range map[string]string{
		"tank/csi/a@s-1":  `"tank/csi/a@s-1"`,
		"a\"b\\c\nd":      `"a\034b\092c\010d"`,
		"é\x00]]":         `"\195\169\000\093\093"`,
		`") os.exit() --`: `"\034\041 os.exit\040\041 --"`,
	} {
		if got := luaString(text); got != want {
			t.Errorf("%q becomes %s, want %s", text, got, want)
		}
	}
	if got := luaList("a", "b") + luaMap(map[string]string{"y": "2", "x": "1"}); got != `{"a","b"}{["x"]="1",["y"]="2"}` {
		t.Errorf("tables become %s", got)
	}
}
