package fragment

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/sluicevideo/sluice"
	"github.com/sluicevideo/sluice/mkv"
	"github.com/sluicevideo/sluice/mkv/ebml"
)

// The service writes every size inside its Tags as a 4-byte one.
const serviceSize = 4

// AppendLeadingTags appends the Tags element that stands before the Cluster of
// a chunk: the fragment's number and its two times, in seconds with exactly
// three decimals.
func AppendLeadingTags(b []byte, n sluice.FragmentNumber, server, producer time.Time) []byte {
	b, at := beginTags(b)
	b = appendNumber(b, TagFragmentNumber, n)
	b = appendTime(b, TagServerTimestamp, server)
	b = appendTime(b, TagProducerTimestamp, producer)
	return endTags(b, at)
}

// AppendTrailingTags appends the Tags element that ends a complete chunk of
// GetMedia: how far the reader is behind, in whole milliseconds, and the token,
// which is the chunk's own fragment number.
func AppendTrailingTags(b []byte, behindNow time.Duration, token sluice.FragmentNumber) []byte {
	b, at := beginTags(b)
	var text [20]byte
	b = appendTag(b, TagMillisBehindNow, strconv.AppendInt(text[:0], behindNow.Milliseconds(), 10))
	b = appendNumber(b, TagContinuationToken, token)
	return endTags(b, at)
}

// AppendErrorTags appends the chunk with which GetMedia says why it ends: a
// whole small document with the number (left out when zero), ERROR_ID and
// ERROR_CODE, and no times.
func AppendErrorTags(b []byte, n sluice.FragmentNumber, code sluice.AckErrorCode) []byte {
	b = mkv.AppendHeader(b)
	b = mkv.AppendSegment(b)
	b, at := beginTags(b)
	b = appendError(b, n, code)
	return endTags(b, at)
}

// AppendListErrorTags appends the chunk with which GetMediaForFragmentList says
// that it cannot deliver fragment n: the tags of AppendErrorTags and besides
// the exception's name and message.
func AppendListErrorTags(b []byte, n sluice.FragmentNumber, code sluice.AckErrorCode, exception sluice.Code, message string) []byte {
	b = mkv.AppendHeader(b)
	b = mkv.AppendSegment(b)
	b, at := beginTags(b)
	b = appendError(b, n, code)
	b = appendTag(b, TagExceptionCode, []byte(exception))
	b = appendTag(b, TagExceptionMessage, []byte(message))
	return endTags(b, at)
}

func appendError(b []byte, n sluice.FragmentNumber, code sluice.AckErrorCode) []byte {
	if !n.IsZero() {
		b = appendNumber(b, TagFragmentNumber, n)
	}
	var text [20]byte
	b = appendTag(b, TagErrorID, strconv.AppendInt(text[:0], int64(code), 10))
	return appendTag(b, TagErrorCode, []byte(code.String()))
}

// beginTags opens a Tags with one Tag; at is where its first SimpleTag stands.
func beginTags(b []byte) (_ []byte, at int) {
	b = append(ebml.AppendID(b, mkv.IDTags), 0, 0, 0, 0)
	b = append(ebml.AppendID(b, mkv.IDTag), 0, 0, 0, 0)
	return b, len(b)
}

// endTags puts the sizes of the Tags that began at into their places.
func endTags(b []byte, at int) []byte {
	tag := len(b) - at
	putSize(b[at-serviceSize:], tag)
	putSize(b[at-2*serviceSize-mkv.IDTag.Len():], tag+serviceSize+mkv.IDTag.Len())
	return b
}

func putSize(b []byte, n int) { binary.BigEndian.PutUint32(b, 0x10000000|uint32(n)) }

func appendTag(b []byte, name string, value []byte) []byte {
	text := 2*(mkv.IDTagName.Len()+serviceSize) + len(name) + len(value)
	b = ebml.AppendHeader(b, mkv.IDSimpleTag, int64(text), serviceSize)
	b = ebml.AppendString(b, mkv.IDTagName, name, serviceSize)
	return ebml.AppendBytes(b, mkv.IDTagString, value, serviceSize)
}

func appendNumber(b []byte, name string, n sluice.FragmentNumber) []byte {
	var text [64]byte
	return appendTag(b, name, n.Append(text[:0]))
}

// appendTime appends a tag with seconds and three decimals, "1511852109.126".
func appendTime(b []byte, name string, t time.Time) []byte {
	var text [32]byte
	return appendTag(b, name, appendSeconds(text[:0], t.UnixMilli()))
}

func appendSeconds(b []byte, ms int64) []byte {
	if ms < 0 {
		b = append(b, '-')
		ms = -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	ms %= 1000
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}
