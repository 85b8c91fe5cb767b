package container

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// minPrefix is how much of a container's id is enough to mean it.
const minPrefix = 4

// Find returns the ids of the cgroups of one container, its own and those
// within it: what a filter in the kernel compares with. The container is given
// by its name, its id or the beginning of an id. Find visits the whole
// cgroup2 hierarchy; it is for command lines, not for records. Its error
// says what was tried.
func (c *Cgroups) Find(ctx context.Context, spec string) ([]uint64, error) {
	h, err := ownHierarchies()
	if err != nil {
		return nil, err
	}
	if c.cfg.Mount != "" {
		h.Unified = c.cfg.Mount
	}
	if h.Unified == "" {
		return nil, fmt.Errorf("find container %q: no cgroup2 hierarchy is mounted; mount -t cgroup2 none /sys/fs/cgroup/unified", spec)
	}
	var ids []uint64
	containers := map[string]bool{}
	err = filepath.WalkDir(h.Unified, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a cgroup removed meanwhile, or a control file
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		path, _ := below(h.Unified, dir)
		id, name := c.Container(path)
		if id == "" || !means(spec, id, name, Parse(path).FullID) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			ids = append(ids, st.Ino)
			containers[id] = true
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("find container %q: %w", spec, err)
	case len(containers) > 1:
		return nil, fmt.Errorf("%q means %d containers: give more digits of the id", spec, len(containers))
	case len(ids) == 0 && h.Legacy:
		return nil, fmt.Errorf("no container %q below %s; version 1 cgroups are mounted, and containers in those only cannot be told apart by the kernel", spec, h.Unified)
	case len(ids) == 0:
		return nil, fmt.Errorf("no container %q: none of the cgroups below %s is called so", spec, h.Unified)
	}
	return ids, nil
}

// means reports whether spec is a container's name, its id, or enough of it.
func means(spec, id, name, full string) bool {
	if spec == id || spec == name && name != "" {
		return true
	}
	return len(spec) >= minPrefix && strings.HasPrefix(full, spec)
}
