package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluicevideo/sluice/internal/auth"
	"github.com/sluicevideo/sluice/internal/config"
	"github.com/sluicevideo/sluice/internal/store/fsys"
)

// Grade is how good a Finding is.
type Grade string

// The grades.
const (
	Good Grade = "ok"
	Weak Grade = "warning" // it works, and will not always
	Bad  Grade = "failure" // the server does not start, or loses media
)

// Finding is what Diagnose says of one thing.
type Finding struct {
	Name   string `json:"name"`
	Grade  Grade  `json:"grade"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // what to do; "" when all is well
}

// Diagnose looks at what a server with these settings depends on: the clock, the
// disk, the limits of the process, ports, certificate and keys. It may run beside
// the server, and changes nothing but for a small file that it makes, syncs and
// removes.
func Diagnose(cfg *config.Loaded) []Finding {
	d := &doctor{cfg: cfg}
	d.state, _ = ReadState(cfg.Data) // zero: no server runs here
	d.clock()
	d.directory()
	d.disk()
	d.files()
	d.ports()
	d.certificate()
	d.keys()
	return d.list
}

type doctor struct {
	cfg   *config.Loaded
	state State
	list  []Finding
}

func (d *doctor) say(name string, g Grade, found, remedy string) {
	d.list = append(d.list, Finding{name, g, found, remedy})
}

// clock: callers' signatures are refused 15 minutes off, and retention goes by it.
func (d *doctor) clock() {
	now := time.Now()
	switch synced, known := clockSynchronised(); {
	case now.Year() < 2025:
		d.say("clock", Bad, "it is "+now.Format(time.RFC3339), "set the clock: signatures are refused when it is 15 minutes off")
	case known && !synced:
		d.say("clock", Weak, "the system says that it is not synchronised", "run a time service such as chrony or systemd-timesyncd")
	case !known:
		d.say("clock", Good, "it is "+now.Format(time.RFC3339)+"; whether it is synchronised is not known here", "")
	default:
		d.say("clock", Good, "synchronised", "")
	}
}

func (d *doctor) directory() {
	info, err := os.Stat(d.cfg.Data)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := checkDir(d.cfg.Data); err != nil {
			d.say("data directory", Bad, err.Error(), "make a directory that the server's user can write to, and name it with --data")
			return
		}
		d.say("data directory", Good, d.cfg.Data+" is not there yet; the first start makes it", "")
	case err != nil:
		d.say("data directory", Bad, err.Error(), "name another directory with --data")
	case checkDir(d.cfg.Data) != nil:
		d.say("data directory", Bad, checkDir(d.cfg.Data).Error(), "give it to the user the server runs as")
	case os.PathSeparator == '/' && info.Mode().Perm()&0o077 != 0:
		d.say("data directory", Weak, fmt.Sprintf("%s has mode %04o: others can look into it", d.cfg.Data, info.Mode().Perm()), "chmod 700 "+d.cfg.Data)
	default:
		d.say("data directory", Good, d.cfg.Data, "")
	}
}

// Figures of the disk. A fragment is acknowledged when it is synced, so a slow
// sync is a late acknowledgement; below the low-water mark nothing is taken.
const (
	slowSync     = 30 * time.Millisecond
	terribleSync = 500 * time.Millisecond
	littleSpace  = 10 << 30
	noSpace      = 512 << 20
)

func (d *doctor) disk() {
	dir := d.cfg.Data
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			return
		}
		dir = up
	}
	if median, worst, err := syncTimes(dir); err != nil {
		d.say("disk sync", Bad, err.Error(), "the disk must take writes and syncs: nothing can be acknowledged else")
	} else {
		found := fmt.Sprintf("%s at the median, %s at most", median.Round(10*time.Microsecond), worst.Round(10*time.Microsecond))
		switch {
		case median > terribleSync:
			d.say("disk sync", Bad, found, "fragments are acknowledged late and producers' buffers run over: use another disk")
		case median > slowSync:
			d.say("disk sync", Weak, found, "acknowledgements wait for it: a disk with a protected write cache, or an SSD, is faster")
		default:
			d.say("disk sync", Good, found, "")
		}
	}
	free, total, err := fsys.OS{}.Space(dir)
	if err != nil || total == 0 {
		return // not known on this system
	}
	found := fmt.Sprintf("%.1f of %.1f GiB", float64(free)/(1<<30), float64(total)/(1<<30))
	switch {
	case free < noSpace:
		d.say("free space", Bad, found, "make room: below the low-water mark fragments are refused")
	case free < littleSpace && d.cfg.MaxBytes == 0:
		d.say("free space", Weak, found, "make room, shorten retentions, or let the oldest go with --max-bytes")
	default:
		d.say("free space", Good, found, "")
	}
}

// syncTimes writes and syncs a small file a few times, as a commit does.
func syncTimes(dir string) (median, worst time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 64<<10)
	var times []time.Duration
	for i := range 21 {
		start := time.Now()
		if _, err := f.WriteAt(block, int64(i*len(block))); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)-1], nil
}

// wantFiles is room for a thousand streams, each with a connection, a reader and
// an open file.
const wantFiles = 8192

func (d *doctor) files() {
	n, known := openFileLimit()
	if !known {
		return
	}
	found := fmt.Sprintf("%d", n)
	if n < wantFiles {
		d.say("open files", Weak, found, fmt.Sprintf("raise the limit to %d or more (LimitNOFILE= of systemd, ulimit -n): each session, reader and stream takes some", wantFiles))
		return
	}
	d.say("open files", Good, found, "")
}

func (d *doctor) ports() {
	addresses := slices.Concat(d.cfg.Listen, d.cfg.ListenTLS)
	if d.cfg.DebugListen != "" {
		addresses = append(addresses, d.cfg.DebugListen)
	}
	running := d.state.PID != 0 && d.alive()
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		switch {
		case err == nil:
			l.Close()
			d.say("port "+a, Good, "free", "")
		case running:
			d.say("port "+a, Good, fmt.Sprintf("in use; a server runs on this data (process %d)", d.state.PID), "")
		default:
			d.say("port "+a, Bad, err.Error(), "stop what uses it, or listen elsewhere")
		}
	}
}

func (d *doctor) alive() bool {
	if d.state.Debug == "" {
		return true // nothing to ask; the state file goes with the server
	}
	c := &http.Client{Timeout: 2 * time.Second}
	resp, err := c.Get(d.state.Debug + "/healthz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (d *doctor) certificate() {
	cert, key := d.cfg.TLSCert, d.cfg.TLSKey
	// A server that runs may have been given another flag than this command.
	selfSigned := d.cfg.TLSSelfSigned || cert == "" && d.state.CAFile != ""
	if selfSigned {
		own := newSelfSigned(filepath.Join(d.cfg.Data, "tls"), nil)
		cert, key = own.cert, own.key
		if _, err := os.Stat(cert); errors.Is(err, os.ErrNotExist) {
			d.say("certificate", Good, "not there yet; the first start makes it", "")
			return
		}
	}
	if cert == "" {
		d.say("certificate", Good, "none in these settings: https is off", "")
		return
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		d.say("certificate", Bad, err.Error(), "name a certificate chain with --tls-cert and its key with --tls-key, both PEM")
		return
	}
	left := time.Until(pair.Leaf.NotAfter)
	found := fmt.Sprintf("for %v, until %s", append(slices.Clone(pair.Leaf.DNSNames), texts(pair.Leaf.IPAddresses)...), pair.Leaf.NotAfter.Format(time.DateOnly))
	switch {
	case left < 0:
		d.say("certificate", Bad, found, "it has expired: renew it; a running server takes the new files by itself")
	case left < renewBefore && !selfSigned:
		d.say("certificate", Weak, found, "renew it soon; a running server takes the new files by itself")
	default:
		d.say("certificate", Good, found, "")
	}
}

func texts(ips []net.IP) []string {
	var list []string
	for _, ip := range ips {
		list = append(list, ip.String())
	}
	return list
}

func (d *doctor) keys() {
	switch _, err := auth.ReadRoot(d.cfg.Data); {
	case d.cfg.RootAccessKeyID != "":
		d.say("root access key", Good, "from the environment", "")
	case errors.Is(err, os.ErrNotExist):
		d.say("root access key", Good, "not there yet; the first start makes it", "")
	case err != nil:
		d.say("root access key", Bad, err.Error(), "")
	default:
		d.say("root access key", Good, filepath.Join(d.cfg.Data, auth.RootFile), "")
	}
	if d.cfg.RootKey != "" {
		d.say("root key", Good, "from the environment", "")
		return
	}
	path := d.cfg.RootKeyFile
	if path == "" {
		path = filepath.Join(d.cfg.Data, "root.key")
	}
	info, err := os.Stat(path)
	_, catalog := os.Stat(filepath.Join(d.cfg.Data, "catalog.db"))
	switch {
	case errors.Is(err, os.ErrNotExist) && catalog != nil:
		d.say("root key", Good, path+" is not there yet; the first start makes it", "")
	case errors.Is(err, os.ErrNotExist):
		d.say("root key", Bad, path+" is not there, and the catalog was sealed under it", "put it back from your backup: without it no media can be read")
	case err != nil:
		d.say("root key", Bad, err.Error(), "")
	case os.PathSeparator == '/' && info.Mode().Perm()&0o077 != 0:
		d.say("root key", Bad, fmt.Sprintf("%s has mode %04o: others can reach it", path, info.Mode().Perm()), "chmod 600 "+path)
	case d.cfg.RootKeyFile == "":
		d.say("root key", Weak, path+" lies beside the media it protects", "move it to another disk or a secret store, name it with --root-key-file, and keep a copy apart from your backups")
	default:
		d.say("root key", Good, path, "")
	}
}
