package language

import "testing"

func TestWanted(t *testing.T) {
	check := func(want Language, env map[string]string) {
		t.Helper()
		if got := Wanted(func(name string) string { return env[name] }); got != want {
			t.Errorf("%v: got %s, want %s", env, got, want)
		}
	}
	check(English, nil)
	check(English, map[string]string{"LANG": "C.UTF-8"})
	check(English, map[string]string{"LANG": "en_US.UTF-8"})
	check(English, map[string]string{"LANG": "zhx_CN.UTF-8"})
	check(Chinese, map[string]string{"LANG": "zh_CN.UTF-8"})
	check(Chinese, map[string]string{"LANG": "zh-Hans"})
	check(Chinese, map[string]string{"LANG": "zh_CN"})
	check(Chinese, map[string]string{"LANG": "zh"})
	check(Chinese, map[string]string{"LANG": "zh_SG.UTF-8@pinyin"})
	check(Chinese, map[string]string{"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"})
	check(English, map[string]string{"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"})
	check(English, map[string]string{"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8", "LC_ALL": "C"})
	check(Chinese, map[string]string{"LC_ALL": "zh_CN.UTF-8", "LANG": "C"})
}
