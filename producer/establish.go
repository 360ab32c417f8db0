package producer

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"

	"github.com/sluicevideo/sluice"
)

// controlTimeout bounds a call to the control plane, tries included.
const controlTimeout = 15 * time.Second

// establish sees to it that the stream exists: described, created if it may be,
// tagged. It does so once, and again after the service said that the stream is
// gone.
func (s *Stream) establish(ctx context.Context) error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	if ready {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, controlTimeout, errControl)
	defer cancel()
	began := time.Now()
	arn, retention, created, err := s.describeOrCreate(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	s.mu.Lock()
	s.m.controlLatency(time.Since(began))
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if len(s.info.Tags) > 0 && arn != "" {
		if _, err := s.client.api.Control().TagStream(ctx, &kinesisvideo.TagStreamInput{StreamARN: &arn, Tags: s.info.Tags}); err != nil {
			// As in the official producer: reported, and the media flows.
			err = serviceError(StatusTagStreamCallFailed, err)
			s.events.send(StreamError{Err: err})
			s.log.Warn("stream not tagged", "error", err)
		}
	}
	s.mu.Lock()
	s.ready, s.arn = true, arn
	if retention != 0 {
		s.retention = retention
	}
	if s.retention == NoRetention {
		for _, f := range append([]*fragment(nil), s.frags...) {
			if f.received {
				s.finishLocked(f)
			}
		}
	}
	s.mu.Unlock()
	s.client.readyOnce()
	s.events.send(StreamReady{arn})
	s.log.Info("stream ready", "arn", arn, "created", created)
	return nil
}

var errControl = errors.New("the control plane did not answer in time")

// describeOrCreate returns retention 0 when it could not be learned.
func (s *Stream) describeOrCreate(ctx context.Context) (arn string, retention time.Duration, created bool, err error) {
	control := s.client.api.Control()
	for range 2 {
		d, err := control.DescribeStream(ctx, &kinesisvideo.DescribeStreamInput{StreamName: &s.info.Name})
		switch codeOf(err) {
		case sluice.ResourceNotFound:
			if s.info.NoCreate {
				return "", 0, false, wrap(StatusServiceCallResourceNotFound, err)
			}
		case sluice.AccessDenied, sluice.NotAuthorized:
			// A device may be allowed to put media and nothing else.
			s.log.Info("stream not described", "error", err)
			return "", 0, false, nil
		default:
			if err != nil {
				return "", 0, false, serviceError(StatusDescribeStreamCallFailed, err)
			}
			return s.described(d.StreamInfo)
		}
		in := &kinesisvideo.CreateStreamInput{StreamName: &s.info.Name, DataRetentionInHours: aws.Int32(0)}
		if s.info.Retention != NoRetention {
			in.DataRetentionInHours = aws.Int32(int32(s.info.Retention / time.Hour))
		}
		if name := s.client.opts.DeviceName; name != "" {
			in.DeviceName = &name
		}
		if t := s.mediaType(); t != "" {
			in.MediaType = &t
		}
		if s.info.KMSKeyID != "" {
			in.KmsKeyId = &s.info.KMSKeyID
		}
		out, err := control.CreateStream(ctx, in)
		if codeOf(err) == sluice.ResourceInUse {
			continue // somebody was quicker
		}
		if err != nil {
			return "", 0, false, serviceError(StatusCreateStreamCallFailed, err)
		}
		return aws.ToString(out.StreamARN), s.info.Retention, true, nil
	}
	return "", 0, false, wrap(StatusServiceCallResourceInUse, errors.New("the stream is neither there nor can it be created"))
}

func (s *Stream) described(d *types.StreamInfo) (arn string, retention time.Duration, created bool, err error) {
	if d == nil {
		return "", 0, false, wrap(StatusInvalidDescribeStreamResponse, errors.New("DescribeStream: no StreamInfo in the answer"))
	}
	if d.Status == types.StatusDeleting {
		return "", 0, false, wrap(StatusStreamIsBeingDeleted, errors.New("the stream is being deleted"))
	}
	retention = time.Duration(aws.ToInt32(d.DataRetentionInHours)) * time.Hour
	if retention == 0 {
		retention = NoRetention
	}
	if retention != s.info.Retention {
		s.log.Info("the stream has another retention than asked for", "has", retention, "asked", s.info.Retention)
	}
	return aws.ToString(d.StreamARN), retention, false, nil
}
