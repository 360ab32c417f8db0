// Package producer sends media to Kinesis Video Streams: frames in, a durable
// stream out, over bad networks, for days. It works against Sluice and AWS.
//
// A [Client] holds what the streams of a device share: credentials, endpoint and
// one memory budget. A [Stream] takes frames with PutFrame, cuts them into
// fragments, keeps these until the service has acknowledged them as persisted,
// and sends them over PutMedia sessions that it opens again for as long as it
// lives. PutFrame never waits for the network. A [MediaSource] is something that
// puts frames by itself; sources for picture files, MKV, MP4 and Annex B are
// here. [PutMedia] is for who has Matroska already.
//
// # How a stream works
//
// PutFrame adapts NAL units, puts the tracks into one order, decides where a
// fragment begins and appends the frame, already a Matroska block, to the newest
// fragment. A fragment goes through these states:
//
//	queued -> sending -> sent -> done        persisted (or received, without retention)
//	   ^         |         |
//	   +---------+---------+                 its session failed: again, in a new one
//
// A session sends queued fragments in order. It ends at a boundary between
// fragments, and the next one begins, when the header changes (codec private
// data, the set of tracks, a jump back in time), when it is old, or when an
// earlier fragment is queued again. What makes way for want of room is always a
// whole fragment, the oldest first, and is reported with its exact range.
//
// # Locks
//
// Each stream has one mutex, held for microseconds and never over I/O. The
// store's mutex is taken under it, never the other way round. Events are
// delivered by a goroutine of their own with no lock held.
package producer
