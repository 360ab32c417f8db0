package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicevideo/sluice/internal/bridge"
	"github.com/sluicevideo/sluice/kvsapi"
	"github.com/sluicevideo/sluice/producer"
)

// bridger is one run of 'sluice bridge'.
type bridger struct {
	env    *Env
	flags  *clientFlags
	config string
	camera bridge.Camera
	listen bridge.Listen
	create bool
	keep   time.Duration
	debug  string
	drain  time.Duration
	clock  string
	size   string
	spool  string
}

func newBridgeCommand(env *Env) *cobra.Command {
	b := &bridger{env: env}
	cmd := &cobra.Command{
		Use:   "bridge STREAM [rtsp://USER:PASSWORD@CAMERA/PATH] [--create] | --listen ADDRESS | --config FILE",
		Short: "Bring RTSP cameras into streams",
		Long: `Pull from a camera, or accept what pushes, and send it to streams: H.264, H.265,
M-JPEG, AAC and G.711. A camera that goes away is tried again for as long as the
bridge runs, and what cannot be sent is buffered.

The arguments of a process can be seen by others on the machine: without a URL
the camera's is taken from the environment variable SLUICE_RTSP_URL, and the
password of --listen from SLUICE_BRIDGE_PASSWORD. A configuration file holds any
number of cameras; docs/bridge.md describes it.`,
		Example: `  sluice bridge door rtsp://user:password@192.0.2.7/stream1 --create
  SLUICE_RTSP_URL=rtsp://... sluice bridge door --transport tcp
  sluice bridge --listen :8554 --create
  ffmpeg -re -i film.mp4 -c copy -f rtsp rtsp://localhost:8554/cam1
  sluice bridge --config cameras.toml`,
		Args: cobra.RangeArgs(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := b.settings(cmd, args)
			if err != nil {
				return err
			}
			return b.run(cmd.Context(), c)
		},
	}
	b.flags = addClientFlags(env, cmd)
	fs := cmd.Flags()
	fs.StringVar(&b.config, "config", "", "TOML file with cameras and what to listen on")
	fs.StringVar(&b.camera.Transport, "transport", "auto", "how the camera sends: tcp, udp or auto")
	fs.BoolVar(&b.camera.TLSInsecure, "tls-insecure", false, "take any certificate of an rtsps camera")
	fs.BoolVar(&b.camera.NoAudio, "no-audio", false, "leave sound out")
	fs.StringVar(&b.clock, "time", "auto", "whose clock stamps: camera, local, or auto (the camera's while it is within 10 s of ours)")
	fs.BoolVar(&b.create, "create", false, "create streams that do not exist")
	durationVar(fs, &b.keep, "retention", 24*time.Hour, "retention of a stream that is created, in whole hours; 0 stores nothing")
	fs.StringVar(&b.listen.Address, "listen", "", "accept pushes at this address, such as :8554")
	fs.StringVar(&b.listen.UDP, "listen-udp", "", "accept RTP over UDP at this address, with an even port")
	fs.StringVar(&b.listen.Stream, "name", "{path}", "stream name for a push; {path} is the path of its URL")
	fs.StringVar(&b.listen.User, "user", "", "user that a push must name; the password is in SLUICE_BRIDGE_PASSWORD")
	fs.StringVar(&b.debug, "debug-listen", "127.0.0.1:8472", "address of the status page; off for none")
	fs.StringVar(&b.size, "storage", "256MiB", "memory for media that is buffered")
	fs.StringVar(&b.spool, "spool", "", "directory for media that outlives an outage")
	durationVar(fs, &b.drain, "drain", 10*time.Second, "how long to wait at the end for what is buffered")
	return cmd
}

// settings makes a configuration of the flags and the file.
func (b *bridger) settings(cmd *cobra.Command, args []string) (bridge.Config, error) {
	var c bridge.Config
	var err error
	if b.config != "" {
		if len(args) > 0 {
			return c, usagef(cmd, "--config excludes STREAM and URL")
		}
		if c, err = bridge.Load(b.config); err != nil {
			return c, err
		}
	}
	flags := cmd.Flags()
	set := bridge.StreamSettings{
		NoAudio: b.camera.NoAudio, Time: bridge.TimeSource(b.clock), Create: &b.create, Retention: &bridge.Duration{Duration: b.keep}, Spool: b.spool,
	}
	if b.config == "" {
		c.Defaults = set
	}
	if len(args) > 0 {
		b.camera.Stream = args[0]
		b.camera.NoAudio = false // it is a default
		if len(args) == 2 {
			b.camera.URL = args[1]
		} else {
			b.camera.URL = b.env.Getenv("SLUICE_RTSP_URL")
		}
		if b.camera.URL == "" {
			return c, usagef(cmd, "want the camera's URL, as an argument or in SLUICE_RTSP_URL")
		}
		c.Cameras = append(c.Cameras, b.camera)
	}
	if b.listen.Address != "" {
		b.listen.Password = b.env.Getenv("SLUICE_BRIDGE_PASSWORD")
		if b.listen.User != "" && b.listen.Password == "" {
			return c, usagef(cmd, "--user: SLUICE_BRIDGE_PASSWORD is not set")
		}
		if b.listen.User == "" {
			b.listen.Password = ""
		}
		c.Listen = b.listen
	}
	if c.Storage == 0 || flags.Changed("storage") {
		if err := c.Storage.UnmarshalText([]byte(b.size)); err != nil {
			return c, usagef(cmd, "--storage: %s", err)
		}
	}
	if c.DebugListen == "" || flags.Changed("debug-listen") {
		c.DebugListen = b.debug
	}
	if c.DrainText.Duration == 0 || flags.Changed("drain") {
		c.Drain = b.drain
	}
	if len(c.Cameras) == 0 && c.Listen.Address == "" {
		return c, usagef(cmd, "want STREAM and a camera's URL, --listen or --config")
	}
	if err := c.Resolve(b.env.Getenv); err != nil {
		return c, err
	}
	return c, nil
}

func (b *bridger) run(ctx context.Context, c bridge.Config) error {
	level := slog.LevelInfo
	if b.flags.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(b.env.Stderr, &slog.HandlerOptions{Level: level}))
	client, err := producer.New(ctx, producer.Options{
		Service: kvsapi.Options{
			Endpoint: b.flags.endpoint, Region: b.flags.region, Profile: b.flags.profile, CAFile: b.flags.caFile, Getenv: b.env.Getenv, UserAgent: "sluice-bridge",
		},
		StorageSize: int64(c.Storage), MaxStreams: 100_000, Logger: log,
	})
	if err != nil {
		return err
	}
	br, err := bridge.New(bridge.Options{Config: c, Client: client, Logger: log, Version: Version()})
	if err != nil {
		return errors.Join(err, client.Close(ctx))
	}
	var status net.Listener
	if c.DebugListen != "off" {
		if status, err = net.Listen("tcp", c.DebugListen); err != nil {
			return errors.Join(fmt.Errorf("--debug-listen: %w", err), client.Close(ctx))
		}
		log.Info("status page", "url", "http://"+status.Addr().String())
	}
	err = br.Run(ctx, status)
	over, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(err, client.Close(over))
}
