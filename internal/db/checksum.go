package db

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ncruces/go-sqlite3"
)

// checksumSize is what SQLite is asked to leave free at the end of each page, and
// by which it knows that there is a checksum (sqlite.org/cksumvfs.html). It is
// checked when a page is read from the file and made when it is written there;
// the write-ahead log has checksums of its own, which are checked when a process
// opens the database.
const checksumSize = 8

// rewriteBelow is how large a database without checksums may be, in bytes, to be
// rewritten with them when it is opened: those that have just been made, above
// all. It must not take long.
const rewriteBelow = 64 << 20

func addChecksums(c *sqlite3.Conn) error {
	var pages, size int64
	for pragma, v := range map[string]*int64{"page_count": &pages, "page_size": &size} {
		s, _, err := c.Prepare("PRAGMA " + pragma)
		if err != nil {
			return err
		}
		if s.Step() {
			*v = s.ColumnInt64(0)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	if n, err := c.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES); err != nil || n == checksumSize || pages*size > rewriteBelow {
		return err
	}
	return c.EnableChecksums("main")
}

// Copy writes a consistent copy of a database that may be in use to a new file.
// It is not synced.
func Copy(ctx context.Context, from, to string) error {
	if _, err := os.Stat(from); err != nil {
		return err
	}
	d, err := Open(ctx, Options{Path: from, ReadOnly: true})
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.View().ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	// SQLite makes checksums from when it has written the first page, which it may
	// do late.
	return eachPage(to, os.O_RDWR, func(f *os.File, page []byte, at int64) error {
		if sum := checksum(page); !bytes.Equal(sum[:], page[len(page)-checksumSize:]) {
			_, err := f.WriteAt(sum[:], at+int64(len(page)-checksumSize))
			return err
		}
		return nil
	})
}

// Fault is something that is wrong with a database. Offset is where in the file,
// or below 0 where that is not known.
type Fault struct {
	Offset int64
	Text   string
}

// Check reads the whole database and gives what is wrong with it, up to 200
// faults. It may be in use.
func (d *DB) Check(ctx context.Context) (faults []Fault, err error) {
	lines, err := d.integrity(ctx)
	for _, l := range lines {
		faults = append(faults, Fault{Offset: -1, Text: l})
	}
	if err != nil && !IsDamaged(err) || err == nil && len(lines) == 0 {
		return nil, err
	}
	if err != nil {
		faults = append(faults, Fault{Offset: -1, Text: err.Error()})
	}
	pages, err := damaged(d.path)
	for _, at := range pages[:min(len(pages), 100)] {
		faults = append(faults, Fault{Offset: at, Text: fmt.Sprintf("the page at %d is not what was written", at)})
	}
	return faults, err
}

// integrity gives what SQLite finds, up to 100 lines.
func (d *DB) integrity(ctx context.Context) (out []string, err error) {
	rows, err := d.read.QueryContext(ctx, `PRAGMA integrity_check(100)`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return out, err
		}
		if s != "ok" {
			out = append(out, s)
		}
	}
	return out, rows.Err()
}

// damaged gives the offsets of the pages of a file whose checksums do not fit;
// none when it has no checksums. Beside a running writer a page that it is just
// writing may be among them.
func damaged(path string) (offsets []int64, err error) {
	err = eachPage(path, os.O_RDONLY, func(_ *os.File, page []byte, at int64) error {
		if sum := checksum(page); !bytes.Equal(sum[:], page[len(page)-checksumSize:]) {
			offsets = append(offsets, at)
		}
		return nil
	})
	return offsets, err
}

// eachPage calls fn with the pages of a file that has checksums.
func eachPage(path string, flag int, fn func(f *os.File, page []byte, at int64) error) error {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var head [100]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	size := int(binary.BigEndian.Uint16(head[16:]))
	if size == 1 {
		size = 1 << 16
	}
	if head[20] != checksumSize || size < 512 || size&(size-1) != 0 {
		return nil
	}
	page := make([]byte, size)
	for at := int64(0); ; at += int64(size) {
		_, err := f.ReadAt(page, at)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = fn(f, page, at)
		}
		if err != nil {
			return err
		}
	}
}

// checksum is the page's, by the rule of SQLite's cksumvfs: two running sums over
// its words, each fed by the other.
func checksum(page []byte) (sum [checksumSize]byte) {
	var a, b uint32
	for p := page[:len(page)-checksumSize]; len(p) > 0; p = p[8:] {
		a += binary.LittleEndian.Uint32(p) + b
		b += binary.LittleEndian.Uint32(p[4:]) + a
	}
	binary.LittleEndian.PutUint32(sum[:], a)
	binary.LittleEndian.PutUint32(sum[4:], b)
	return sum
}
