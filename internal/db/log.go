package db

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// SQLite opens a write-ahead log up to the first frame whose checksum does not
// fit, which is how it passes over what was being written when the power went.
// Each commit is synced before the next begins, so that can only be the last one.
// When more than one commit lies behind the first bad frame, a bit has flipped
// since, and commits that were durable are not seen any more: nobody would be
// told.

const (
	logHeader   = 32
	frameHeader = 24
)

// damagedLog gives where in a database's write-ahead log, before the database is
// opened, durable commits begin that SQLite will pass over; below 0: nowhere.
func damagedLog(path string) (at int64, err error) {
	f, err := os.Open(path + "-wal")
	if errors.Is(err, os.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	defer f.Close()
	var head [logHeader]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return -1, nil
		}
		return -1, err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[3]&1 != 0 {
		order = binary.BigEndian
	}
	sum := logSum{order: order}
	sum.add(head[:24])
	size := int64(binary.BigEndian.Uint32(head[8:]))
	if !sum.is(head[24:]) || binary.BigEndian.Uint32(head[:])&^1 != 0x377f0682 || size < 512 || size > 1<<16 {
		return 0, nil // it is one sector, so it is never half written
	}
	frame := make([]byte, frameHeader+size)
	bad, commits := int64(-1), 0
	for off := int64(logHeader); ; off += int64(len(frame)) {
		if _, err := f.ReadAt(frame, off); errors.Is(err, io.EOF) {
			return -1, nil
		} else if err != nil {
			return -1, err
		}
		ours := string(frame[8:16]) == string(head[16:24]) // else it is of an earlier log
		if bad < 0 {
			sum.add(frame[:8])
			sum.add(frame[frameHeader:])
			if ours && sum.is(frame[16:24]) {
				continue
			}
			bad = off
		}
		if commit := binary.BigEndian.Uint32(frame[4:]) != 0; ours && commit {
			commits++
		}
		if commits > 1 {
			return bad, nil
		}
	}
}

// logSum is the running checksum of a write-ahead log.
type logSum struct {
	order binary.ByteOrder
	a, b  uint32
}

func (s *logSum) add(p []byte) {
	for ; len(p) >= 8; p = p[8:] {
		s.a += s.order.Uint32(p) + s.b
		s.b += s.order.Uint32(p[4:]) + s.a
	}
}

func (s *logSum) is(p []byte) bool {
	return s.a == binary.BigEndian.Uint32(p) && s.b == binary.BigEndian.Uint32(p[4:])
}
