// Package limits knows the two settings that bound what callers may do: the
// rules (how long, how large, how many in one thing) and the rates (how often,
// how many at once, how fast). Each is a profile of figures, and every figure
// can be set by its name. The package counts and paces; it does not know what a
// stream or a request is, and it never looks at time but through the clock that
// the runtime gives it.
//
// The figures and what answers when one is exceeded are in docs/api.md. A
// figure of zero is no limit.
package limits

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Rules are durations, sizes, counts, ranges and semantics. Zero is no limit.
type Rules struct {
	Streams           int           `figure:"streams" guide:"100" current:"10000" doc:"streams an account"`
	FragmentDuration  time.Duration `figure:"fragment-duration" guide:"10s" current:"20s" doc:"longest fragment"`
	FragmentBytes     int64         `figure:"fragment-bytes" guide:"52428800" current:"52428800" doc:"largest fragment, bytes"`
	FragmentTracks    int           `figure:"fragment-tracks" guide:"3" current:"3" doc:"tracks of a session"`
	FragmentTags      int           `figure:"fragment-tags" guide:"10" current:"10" doc:"metadata tags of a fragment"`
	FragmentOrder     bool          `figure:"fragment-order" guide:"true" current:"false" doc:"a fragment must begin after the frames of all tracks of the one before, not only after those of each track itself"`
	ProducerAhead     time.Duration `figure:"producer-ahead" guide:"24h" current:"24h" doc:"how far a producer timestamp may lie ahead of the server's clock"`
	FragmentList      int           `figure:"fragment-list" guide:"1000" current:"1000" doc:"fragment numbers in one GetMediaForFragmentList"`
	PlaylistFragments int           `figure:"playlist-fragments" guide:"1000" current:"5000" doc:"fragments of one playlist"`
	HLSRange          time.Duration `figure:"hls-range" guide:"3h" current:"24h" doc:"time range of an HLS session, not LIVE_REPLAY"`
	DASHRange         time.Duration `figure:"dash-range" guide:"24h" current:"24h" doc:"time range of a DASH session, not LIVE_REPLAY"`
	PlaybackGuide     bool          `figure:"playback-guide" guide:"true" current:"false" doc:"playback as the guide of 2019 has it: fragments that begin before StartTimestamp and run past it are included, H.265 and sound alone are refused, a change of codec private data is an error"`
	ClipBytes         int64         `figure:"clip-bytes" guide:"104857600" current:"104857600" doc:"largest clip, bytes"`
	ClipFragments     int           `figure:"clip-fragments" guide:"200" current:"200" doc:"fragments of one clip"`
	RetentionReplaces bool          `figure:"retention-replaces" guide:"true" current:"false" doc:"UpdateDataRetention replaces the retention instead of adding to it or subtracting from it"`
}

// Rates are calls a second, connections, sessions and bandwidth. Zero is no limit.
type Rates struct {
	CreateCalls    float64 `figure:"create-calls" guide:"50" current:"50" doc:"CreateStream calls/s an account"`
	UpdateCalls    float64 `figure:"update-calls" guide:"50" current:"50" doc:"UpdateStream calls/s an account"`
	DeleteCalls    float64 `figure:"delete-calls" guide:"50" current:"50" doc:"DeleteStream calls/s an account"`
	DescribeCalls  float64 `figure:"describe-calls" guide:"300" current:"300" doc:"Describe... calls/s an account"`
	ListCalls      float64 `figure:"list-calls" guide:"300" current:"50" doc:"ListStreams calls/s an account"`
	EndpointCalls  float64 `figure:"endpoint-calls" guide:"300" current:"300" doc:"GetDataEndpoint calls/s an account"`
	TagCalls       float64 `figure:"tag-calls" guide:"0" current:"50" doc:"tag calls/s an account, each operation by itself"`
	RetentionCalls float64 `figure:"retention-calls" guide:"0" current:"50" doc:"UpdateDataRetention calls/s an account"`
	StreamCalls    float64 `figure:"stream-calls" guide:"5" current:"5" doc:"calls/s of each control operation on a stream"`
	CreateName     float64 `figure:"create-name-calls" guide:"5" current:"0" doc:"CreateStream calls/s for one name"`

	PutMediaCalls     float64 `figure:"put-media-calls" guide:"5" current:"5" doc:"PutMedia calls/s a stream"`
	PutMediaSessions  int     `figure:"put-media-sessions" guide:"1" current:"1" doc:"PutMedia sessions of a stream, and one more while the oldest ends"`
	PutMediaBandwidth int64   `figure:"put-media-bandwidth" guide:"12500000" current:"12500000" doc:"PutMedia bytes/s a stream; beyond it is read slower"`

	GetMediaCalls       float64 `figure:"get-media-calls" guide:"5" current:"5" doc:"GetMedia calls/s a stream"`
	GetMediaConnections int     `figure:"get-media-connections" guide:"3" current:"3" doc:"GetMedia connections of a stream"`
	GetMediaBandwidth   int64   `figure:"get-media-bandwidth" guide:"25000000" current:"25000000" doc:"GetMedia bytes/s a connection; beyond it is sent slower"`

	ListFragmentsCalls float64 `figure:"list-fragments-calls" guide:"5" current:"0" doc:"ListFragments calls/s a stream"`
	MetadataPoints     float64 `figure:"metadata-points" guide:"0" current:"10000" doc:"fragments listed/s a stream, by ListFragments, playlists and clips together"`

	FragmentListCalls       float64 `figure:"fragment-list-calls" guide:"5" current:"0" doc:"GetMediaForFragmentList calls/s a stream"`
	FragmentListConnections int     `figure:"fragment-list-connections" guide:"5" current:"5" doc:"GetMediaForFragmentList connections of a stream"`
	FragmentListBandwidth   int64   `figure:"fragment-list-bandwidth" guide:"25000000" current:"25000000" doc:"GetMediaForFragmentList bytes/s a connection; beyond it is sent slower"`
	MediaPoints             float64 `figure:"media-points" guide:"0" current:"500" doc:"fragments read/s a stream, by GetMediaForFragmentList, media segments and clips together"`

	HLSCalls    float64 `figure:"hls-calls" guide:"1" current:"25" doc:"GetHLSStreamingSessionURL calls/s a stream"`
	HLSBurst    int     `figure:"hls-burst" guide:"5" current:"25" doc:"GetHLSStreamingSessionURL calls at once"`
	HLSSessions int     `figure:"hls-sessions" guide:"10" current:"0" doc:"HLS sessions of a stream; a new one revokes the oldest"`
	DASHCalls   float64 `figure:"dash-calls" guide:"25" current:"25" doc:"GetDASHStreamingSessionURL calls/s a stream"`

	PlaylistCalls      float64 `figure:"playlist-calls" guide:"5" current:"5" doc:"calls/s of each playlist and of the initialisation segment"`
	SegmentCalls       float64 `figure:"segment-calls" guide:"10" current:"20" doc:"media segment calls/s, MP4 and TS"`
	SegmentBandwidth   int64   `figure:"segment-bandwidth" guide:"25000000" current:"0" doc:"media segment bytes/s of a stream"`
	PlaybackPerSession bool    `figure:"playback-per-session" guide:"false" current:"true" doc:"playlist-calls and segment-calls count for a playback session instead of for the stream"`
}

// RulesOf gives the rules of a profile: current, guide or none.
func RulesOf(profile string) (Rules, error) {
	var r Rules
	return r, fill(&r, "limits", profile, "none")
}

// RatesOf gives the rates of a profile: off, current or guide.
func RatesOf(profile string) (Rates, error) {
	var r Rates
	return r, fill(&r, "rates", profile, "off")
}

// Set sets one figure by its name, in the text form that String of its type
// gives: "20s", "52428800", "true".
func (r *Rules) Set(name, value string) error { return set(r, name, value) }

// Set sets one figure by its name; see Rules.Set.
func (r *Rates) Set(name, value string) error { return set(r, name, value) }

// Figure is one figure, for help texts and documents.
type Figure struct {
	Name, Doc      string
	Guide, Current string // its value in those profiles
	Value          string // as it stands
}

// Figures are the rules as they stand, in the order of documents.
func (r Rules) Figures() []Figure { return figures(r) }

// Figures are the rates as they stand, in the order of documents.
func (r Rates) Figures() []Figure { return figures(r) }

func fill(to any, setting, profile, empty string) error {
	switch profile {
	case empty:
		return nil
	case "guide", "current":
	default:
		return fmt.Errorf("%s %q: must be current, guide or %s", setting, profile, empty)
	}
	v := reflect.ValueOf(to).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if err := parse(v.Field(i), f.Tag.Get(profile)); err != nil {
			panic("limits: figure " + f.Name + ": " + err.Error()) // the tags above are ours
		}
	}
	return nil
}

func set(to any, name, value string) error {
	v := reflect.ValueOf(to).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("figure") == name {
			if err := parse(v.Field(i), value); err != nil {
				return fmt.Errorf("limit %s: %w", name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("limit %q is unknown", name)
}

func figures(of any) []Figure {
	v := reflect.ValueOf(of)
	list := make([]Figure, v.NumField())
	for i := range list {
		t := v.Type().Field(i).Tag
		list[i] = Figure{t.Get("figure"), t.Get("doc"), t.Get("guide"), t.Get("current"), fmt.Sprint(v.Field(i).Interface())}
	}
	return list
}

func parse(v reflect.Value, s string) error {
	s = strings.TrimSpace(s)
	switch v.Interface().(type) {
	case bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q: must be true or false", s)
		}
		v.SetBool(b)
	case time.Duration:
		d, err := time.ParseDuration(s)
		if s == "0" {
			d, err = 0, nil
		}
		if err != nil || d < 0 {
			return fmt.Errorf("%q: must be a duration such as 20s, or 0 for no limit", s)
		}
		v.SetInt(int64(d))
	case float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f >= 0 && f <= 1e12) {
			return fmt.Errorf("%q: must be a number, or 0 for no limit", s)
		}
		v.SetFloat(f)
	default: // int, int64
		n, err := strconv.ParseInt(s, 10, v.Type().Bits())
		if err != nil || n < 0 {
			return fmt.Errorf("%q: must be a whole number, or 0 for no limit", s)
		}
		v.SetInt(n)
	}
	return nil
}

// FigureNames are the figures that bound the calls of a class: for the account
// and for each stream (or playback session); "" where there is none.
func (c Class) FigureNames() (account, each string) {
	n := figureNames[c]
	return n[0], n[1]
}

var figureNames = map[Class][2]string{
	CreateStream:  {"create-calls", "create-name-calls"},
	UpdateStream:  {"update-calls", "stream-calls"},
	DeleteStream:  {"delete-calls", "stream-calls"},
	Describe:      {"describe-calls", "stream-calls"},
	ListStreams:   {"list-calls", ""},
	Endpoint:      {"endpoint-calls", "stream-calls"},
	Tags:          {"tag-calls", "stream-calls"},
	Retention:     {"retention-calls", "stream-calls"},
	PutMedia:      {"", "put-media-calls"},
	GetMedia:      {"", "get-media-calls"},
	ListFragments: {"", "list-fragments-calls"},
	FragmentList:  {"", "fragment-list-calls"},
	HLSSession:    {"", "hls-calls"},
	DASHSession:   {"", "dash-calls"},
	Playlist:      {"", "playlist-calls"},
	Segment:       {"", "segment-calls"},

	MetadataPoints: {"", "metadata-points"},
	MediaPoints:    {"", "media-points"},
}
