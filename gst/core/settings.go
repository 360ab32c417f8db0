package main

import (
	"os"
	"slices"
	"time"

	"github.com/sluicevideo/sluice/kvsapi"
)

// settings are the elements' properties, by their names.
type settings struct {
	Given []string `json:"given"` // properties that somebody set

	StreamName string `json:"stream-name"`
	UserAgent  string `json:"user-agent"`
	Region     string `json:"aws-region"`
	Endpoint   string `json:"endpoint"`
	CAFile     string `json:"ca-file"`

	AccessKey      string            `json:"access-key"`
	SecretKey      string            `json:"secret-key"`
	SessionToken   string            `json:"session-token"`
	CredentialPath string            `json:"credential-path"`
	IoT            map[string]string `json:"iot-certificate"`

	// kvssink
	Retention             int               `json:"retention-period"`
	StreamingType         int               `json:"streaming-type"`
	MaxLatency            int               `json:"max-latency"`
	FragmentDuration      int               `json:"fragment-duration"`
	TimecodeScale         int               `json:"timecode-scale"`
	KeyFrameFragmentation bool              `json:"key-frame-fragmentation"`
	FrameTimecodes        bool              `json:"frame-timecodes"`
	AbsoluteTimes         bool              `json:"absolute-fragment-times"`
	FragmentAcks          bool              `json:"fragment-acks"`
	RestartOnError        bool              `json:"restart-on-error"`
	Recalculate           bool              `json:"recalculate-metrics"`
	FrameRate             int               `json:"framerate"`
	Bandwidth             int               `json:"avg-bandwidth-bps"`
	BufferDuration        int               `json:"buffer-duration"`
	ReplayDuration        int               `json:"replay-duration"`
	Staleness             int               `json:"connection-staleness"`
	TrackName             string            `json:"track-name"`
	StopTimeout           int               `json:"stop-stream-timeout"`
	StorageSize           int               `json:"storage-size"`
	Tags                  map[string]string `json:"stream-tags"`
	Metrics               bool              `json:"get-kvs-metrics"`
	AllowCreate           bool              `json:"allow-create-stream"`
	KMSKeyID              string            `json:"kms-key-id"`
	SpoolDir              string            `json:"spool-dir"`
	Video                 bool              `json:"video"` // there is such a pad
	Audio                 bool              `json:"audio"`

	// kvssrc
	StartAt string `json:"start-at"`
	StopAt  string `json:"stop-at"`
	TimeOf  int    `json:"time-of"` // 0 server, 1 producer
}

// service says where the service is and who calls, from the properties, and
// where they are silent from the environment, as the AWS tools read it.
func (s settings) service() (kvsapi.Options, error) {
	o := kvsapi.Options{Endpoint: s.Endpoint, CAFile: s.CAFile, UserAgent: s.UserAgent}
	// A region that somebody set beats the environment's; the property's default
	// does not.
	o.Region = s.Region
	if !slices.Contains(s.Given, "aws-region") && os.Getenv("AWS_REGION")+os.Getenv("AWS_DEFAULT_REGION") != "" {
		o.Region = ""
	}
	if o.CAFile == "" {
		o.CAFile = os.Getenv("KVSSINK_CA_CERT_PATH")
	}
	credentials, err := s.credentials(os.Getenv)
	o.Credentials = credentials
	return o, err
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
