/* The properties of kvssink: those of the official element, of the guide, and ours. */
#include "props.h"

/* enumeration registers a type under the name that the official element gives it,
 * or takes the official one's when both plugins are in the process. */
static GType enumeration(const char *name, const GEnumValue *values) {
  GType type = g_type_from_name(name);
  return type != 0 ? type : g_enum_register_static(name, values);
}

static GType streaming_type(void) {
  static gsize type = 0;
  static const GEnumValue values[] = {
      {0, "streaming type realtime", "realtime"},
      {1, "streaming type near realtime", "near-realtime"},
      {2, "streaming type offline", "offline"},
      {0, NULL, NULL},
  };
  if (g_once_init_enter(&type)) g_once_init_leave(&type, enumeration("GstKvsSinkStreamingType", values));
  return type;
}

static GType timestamp_type(void) {
  static gsize type = 0;
  static const GEnumValue values[] = {
      {0, "DTS is PTS", "pts-only"},
      {1, "PTS is DTS", "dts-only"},
      {2, "both, or the one that is there", "default-timestamp"},
      {0, NULL, NULL},
  };
  if (g_once_init_enter(&type)) g_once_init_leave(&type, enumeration("GstKvsSinkFrameTimestampType", values));
  return type;
}

const struct prop kvs_sink_props[] = {
    {"stream-name", PROP_STRING, "DEFAULT_STREAM", 0, 0, NULL, "Name of the destination stream", FALSE},
    {"user-agent", PROP_STRING, "AWS-SDK-KVS-CPP-CLIENT", 0, 0, NULL, "Put in front of the User-Agent header", FALSE},
    {"retention-period", PROP_UINT, NULL, 2, 0, NULL, "Hours a stream that is created is kept; 0: not", FALSE},
    {"streaming-type", PROP_ENUM, NULL, 0, 0, streaming_type, "Realtime drops the oldest when the buffer is full, offline waits", FALSE},
    {"content-type", PROP_STRING, "video/h264", 0, 0, NULL, "Content type; replaced by what the caps say", FALSE},
    {"max-latency", PROP_UINT, NULL, 60, 0, NULL, "Seconds media may wait unsent before kvs-latency-pressure", FALSE},
    {"fragment-duration", PROP_UINT, NULL, 2000, 0, NULL, "Milliseconds of a fragment without key-frame-fragmentation", FALSE},
    {"timecode-scale", PROP_UINT, NULL, 1, 0, NULL, "Milliseconds of a Matroska tick", FALSE},
    {"key-frame-fragmentation", PROP_BOOL, NULL, TRUE, 0, NULL, "A fragment begins at each key frame", FALSE},
    {"frame-timecodes", PROP_BOOL, NULL, TRUE, 0, NULL, "Use the buffers' times; else the time of arrival", FALSE},
    {"absolute-fragment-times", PROP_BOOL, NULL, TRUE, 0, NULL, "Timecodes count from the epoch", FALSE},
    {"fragment-acks", PROP_BOOL, NULL, TRUE, 0, NULL, "Ask for acknowledgements", FALSE},
    {"restart-on-error", PROP_BOOL, NULL, TRUE, 0, NULL, "Reconnect after errors", FALSE},
    {"recalculate-metrics", PROP_BOOL, NULL, TRUE, 0, NULL, "Keep rates in the metrics", FALSE},
    {"framerate", PROP_UINT, NULL, 25, 0, NULL, "Expected frames a second", FALSE},
    {"avg-bandwidth-bps", PROP_UINT, NULL, 4194304, 0, NULL, "Expected bits a second", FALSE},
    {"buffer-duration", PROP_UINT, NULL, 120, 0, NULL, "Seconds of media kept while they can't be sent", FALSE},
    {"replay-duration", PROP_UINT, NULL, 40, 0, NULL, "Seconds sent again after a failure", FALSE},
    {"connection-staleness", PROP_UINT, NULL, 60, 0, NULL, "Seconds without an acknowledgement before a new connection", FALSE},
    {"codec-id", PROP_STRING, "V_MPEG4/ISO/AVC", 0, 0, NULL, "Codec id; replaced by what the caps say", FALSE},
    {"track-name", PROP_STRING, "kinesis_video", 0, 0, NULL, "Name of the video track", FALSE},
    {"access-key", PROP_STRING, "access_key", 0, 0, NULL, "AWS access key", TRUE},
    {"secret-key", PROP_STRING, "secret_key", 0, 0, NULL, "AWS secret key", TRUE},
    {"session-token", PROP_STRING, "session_token", 0, 0, NULL, "AWS session token", TRUE},
    {"aws-region", PROP_STRING, "us-west-2", 0, 0, NULL, "AWS region; when set it beats AWS_DEFAULT_REGION", FALSE},
    {"rotation-period", PROP_UINT, NULL, 3600, 0, NULL, "Accepted; credentials are renewed before they expire", FALSE},
    {"log-config", PROP_STRING, "../kvs_log_configuration", 0, 0, NULL, "Accepted; use GST_DEBUG=kvssink:5", FALSE},
    {"storage-size", PROP_UINT, NULL, 128, 10240, NULL, "Megabytes of the buffer", FALSE},
    {"stop-stream-timeout", PROP_UINT, NULL, 120, 0, NULL, "Seconds EOS waits until all is persisted", FALSE},
    {"connection-timeout", PROP_UINT, NULL, 5, 0, NULL, "Seconds to connect", FALSE},
    {"completion-timeout", PROP_UINT, NULL, 10, 0, NULL, "Seconds for a control call", FALSE},
    {"credential-path", PROP_STRING, ".kvs/credential", 0, 0, NULL, "File with credentials, read again when it changes", FALSE},
    {"iot-certificate", PROP_STRUCTURE, NULL, 0, 0, NULL, "iot-certificate,endpoint=,cert-path=,key-path=,ca-path=,role-aliases=[,iot-thing-name=]", FALSE},
    {"stream-tags", PROP_STRUCTURE, NULL, 0, 0, NULL, "Tags of the stream, as stream-tags,key=value", FALSE},
    {"file-start-time", PROP_UINT64, NULL, 0, 0, NULL, "Seconds since the epoch of a recording's first frame; 0: now", FALSE},
    {"disable-buffer-clipping", PROP_BOOL, NULL, FALSE, 0, NULL, "Send frames outside the segment too", FALSE},
    {"use-original-pts", PROP_BOOL, NULL, FALSE, 0, NULL, "The buffers' PTS are times since the epoch already", FALSE},
    {"get-kvs-metrics", PROP_BOOL, NULL, FALSE, 0, NULL, "Emit stream-client-metric at key frames", FALSE},
    {"allow-create-stream", PROP_BOOL, NULL, TRUE, 0, NULL, "Create the stream when it does not exist", FALSE},
    {"frame-timestamp", PROP_ENUM, NULL, 2, 0, timestamp_type, "Which of a buffer's times count", FALSE},
    /* Ours. */
    {"endpoint", PROP_STRING, NULL, 0, 0, NULL, "URL of the control plane; else CONTROL_PLANE_URI, AWS_ENDPOINT_URL, AWS", FALSE},
    {"ca-file", PROP_STRING, NULL, 0, 0, NULL, "PEM file with the authorities to trust", FALSE},
    {"kms-key-id", PROP_STRING, NULL, 0, 0, NULL, "Key of a stream that is created", FALSE},
    {"spool-dir", PROP_STRING, NULL, 0, 0, NULL, "Folder that keeps media through an outage or a restart", FALSE},
    {"stop-on-error", PROP_BOOL, NULL, TRUE, 0, NULL, "A lasting error stops the pipeline; else it is a warning", FALSE},
};

const guint kvs_sink_n_props = G_N_ELEMENTS(kvs_sink_props);
