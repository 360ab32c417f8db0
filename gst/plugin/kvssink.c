/* kvssink: sends encoded video and audio to a stream.
 *
 * Each pad hands its frames straight to the core, which puts the tracks into one
 * order with a bounded wait: a silent track holds nothing up. No state change
 * waits for the network. */
#include "kvssink.h"

#include <string.h>

#include "core.h"
#include "props.h"

GST_DEBUG_CATEGORY_STATIC(kvs_sink_debug);
#define GST_CAT_DEFAULT kvs_sink_debug

static GType streaming_type(void) {
  static gsize type = 0;
  static const GEnumValue values[] = {
      {0, "streaming type realtime", "realtime"},
      {1, "streaming type near realtime", "near-realtime"},
      {2, "streaming type offline", "offline"},
      {0, NULL, NULL},
  };
  if (g_once_init_enter(&type)) g_once_init_leave(&type, g_enum_register_static("SluiceKvsSinkStreamingType", values));
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
  if (g_once_init_enter(&type)) g_once_init_leave(&type, g_enum_register_static("SluiceKvsSinkFrameTimestampType", values));
  return type;
}

static const struct prop rows[] = {
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

typedef struct {
  GstElement parent;
  struct props props;
  const struct sluice_core *core;

  GMutex lock; /* of everything below */
  guint64 sink;
  gboolean anchored;
  GstClockTimeDiff anchor; /* wall clock at running time 0, ns since the epoch */
  guint pads, ended;
  gint audio, video; /* pads of each kind: at most one */
  gboolean failed;   /* the stream has ended for good */
  gboolean stopping;
} KvsSink;

typedef struct {
  GstElementClass parent;
} KvsSinkClass;

/* A sink pad with its track. */
typedef struct {
  GstPad parent;
  GstSegment segment;
  gint track; /* 1 video, 2 audio; a lone audio track is 1 */
  gboolean is_video;
  gboolean eos;
} KvsPad;

typedef struct {
  GstPadClass parent;
} KvsPadClass;

GType kvs_pad_get_type(void);
G_DEFINE_TYPE(KvsPad, kvs_pad, GST_TYPE_PAD)
static void kvs_pad_class_init(KvsPadClass *klass) { (void)klass; }
static void kvs_pad_init(KvsPad *pad) { gst_segment_init(&pad->segment, GST_FORMAT_UNDEFINED); }

G_DEFINE_TYPE(KvsSink, kvs_sink, GST_TYPE_ELEMENT)
#define KVS_SINK(o) ((KvsSink *)(o))

enum { SIGNAL_ERROR, SIGNAL_ACK, SIGNAL_METRIC, SIGNAL_ACK_STRUCTURE, SIGNALS };
static guint signals[SIGNALS];

static GstStaticPadTemplate video_template = GST_STATIC_PAD_TEMPLATE(
    "video_%u", GST_PAD_SINK, GST_PAD_REQUEST,
    GST_STATIC_CAPS("video/x-h264, stream-format = (string) { avc, avc3, byte-stream }, alignment = (string) au, width = (int) [ 16, MAX ], height = (int) [ 16, MAX ];"
                    "video/x-h265, stream-format = (string) { hvc1, hev1, byte-stream }, alignment = (string) au, width = (int) [ 16, MAX ], height = (int) [ 16, MAX ]"));

static GstStaticPadTemplate audio_template = GST_STATIC_PAD_TEMPLATE(
    "audio_%u", GST_PAD_SINK, GST_PAD_REQUEST,
    GST_STATIC_CAPS("audio/mpeg, mpegversion = (int) { 2, 4 }, stream-format = (string) { raw, adts }, channels = (int) [ 1, MAX ], rate = (int) [ 1, MAX ];"
                    "audio/x-alaw, channels = (int) { 1, 2 }, rate = (int) [ 8000, 192000 ];"
                    "audio/x-mulaw, channels = (int) { 1, 2 }, rate = (int) [ 8000, 192000 ]"));

/* ---- what the core tells ---- */

static void on_event(void *user, int kind, const char *text) {
  KvsSink *self = user;
  GstStructure *s = gst_structure_from_string(text, NULL);
  if (s == NULL) {
    GST_ERROR_OBJECT(self, "the core told nonsense: %s", text);
    return;
  }
  switch (kind) {
    case SLUICE_EVENT_ACK: {
      struct kvs_fragment_ack ack = {0};
      guint error = 0;
      gst_structure_get_int(s, "type", &ack.type);
      gst_structure_get_uint64(s, "timecode", &ack.timestamp);
      gst_structure_get_uint(s, "error", &error);
      if (gst_structure_get_string(s, "number") != NULL)
        g_strlcpy(ack.number, gst_structure_get_string(s, "number"), sizeof ack.number);
      ack.result = error != 0 ? error : 200;
      g_signal_emit(self, signals[SIGNAL_ACK], 0, &ack);
      g_signal_emit(self, signals[SIGNAL_ACK_STRUCTURE], 0, s);
      gst_structure_free(s);
      break;
    }
    case SLUICE_EVENT_ERROR: {
      guint status = 0;
      gboolean final = FALSE;
      const char *message = gst_structure_get_string(s, "message");
      gst_structure_get_uint(s, "status", &status);
      gst_structure_get_boolean(s, "final", &final);
      g_signal_emit(self, signals[SIGNAL_ERROR], 0, (guint64)status);
      if (final) {
        g_mutex_lock(&self->lock);
        self->failed = TRUE;
        g_mutex_unlock(&self->lock);
      }
      if (final && props_bool(&self->props, "stop-on-error"))
        GST_ELEMENT_ERROR(self, RESOURCE, WRITE, ("The stream can't go on: %s", message), ("status 0x%08x", status));
      else
        GST_ELEMENT_WARNING(self, RESOURCE, WRITE, ("%s", message), ("status 0x%08x", status));
      gst_structure_free(s);
      break;
    }
    case SLUICE_EVENT_METRICS:
      g_signal_emit(self, signals[SIGNAL_METRIC], 0, s);
      gst_structure_free(s);
      break;
    default:
      gst_element_post_message(GST_ELEMENT(self), gst_message_new_element(GST_OBJECT(self), s));
  }
}

/* ---- time ---- */

/* anchor_now fixes the wall clock at running time 0, once a run: from the
 * pipeline's clock when it runs, so that live frames get the time they were
 * taken at; else so that the frame at hand is of now. */
static GstClockTimeDiff anchor_now(KvsSink *self, GstClockTimeDiff running) {
  GstClockTimeDiff now = g_get_real_time() * GST_USECOND, at = running;
  GstClock *clock = gst_element_get_clock(GST_ELEMENT(self));
  if (clock != NULL && GST_STATE(self) == GST_STATE_PLAYING) {
    GstClockTimeDiff current = GST_CLOCK_DIFF(gst_element_get_base_time(GST_ELEMENT(self)), gst_clock_get_time(clock));
    /* A file that is read faster than it plays is ahead of the clock. */
    if (ABS(current - running) < 10 * (GstClockTimeDiff)GST_SECOND) at = current;
  }
  if (clock != NULL) gst_object_unref(clock);
  return now - at;
}

/* wall_time turns a buffer's time into ns since the epoch; -1 when it has none. */
static gint64 wall_time(KvsSink *self, KvsPad *pad, GstClockTime t) {
  guint64 running;
  gint sign;
  gint64 wall;
  guint64 start = props_number(&self->props, "file-start-time");
  if (!GST_CLOCK_TIME_IS_VALID(t)) return -1;
  if (props_bool(&self->props, "use-original-pts")) return (gint64)t;
  sign = gst_segment_to_running_time_full(&pad->segment, GST_FORMAT_TIME, t, &running);
  if (sign == 0) return -1;
  if (start != 0) return (gint64)(start * GST_SECOND) + sign * (gint64)running;
  g_mutex_lock(&self->lock);
  if (!self->anchored) {
    self->anchor = anchor_now(self, sign * (GstClockTimeDiff)running);
    self->anchored = TRUE;
  }
  wall = self->anchor + sign * (gint64)running;
  g_mutex_unlock(&self->lock);
  return wall;
}

/* ---- data ---- */

static GstFlowReturn chain(GstPad *gstpad, GstObject *parent, GstBuffer *buffer) {
  KvsSink *self = KVS_SINK(parent);
  KvsPad *pad = (KvsPad *)gstpad;
  GstMapInfo map;
  gint64 pts, dts, swap;
  guint32 flags = 0;
  int flow;
  gboolean failed;

  g_mutex_lock(&self->lock);
  failed = self->failed;
  g_mutex_unlock(&self->lock);
  if (failed) {
    gst_buffer_unref(buffer);
    return props_bool(&self->props, "stop-on-error") ? GST_FLOW_ERROR : GST_FLOW_OK;
  }
  if (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_CORRUPTED) || GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DECODE_ONLY) ||
      (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_HEADER) && !GST_BUFFER_PTS_IS_VALID(buffer) && !GST_BUFFER_DTS_IS_VALID(buffer)) ||
      gst_buffer_get_size(buffer) == 0) {
    GST_DEBUG_OBJECT(pad, "left out %" GST_PTR_FORMAT, buffer);
    gst_buffer_unref(buffer);
    return GST_FLOW_OK;
  }
  if (!props_bool(&self->props, "disable-buffer-clipping") && pad->segment.format == GST_FORMAT_TIME &&
      GST_BUFFER_PTS_IS_VALID(buffer) &&
      !gst_segment_clip(&pad->segment, GST_FORMAT_TIME, GST_BUFFER_PTS(buffer),
                        GST_BUFFER_DURATION_IS_VALID(buffer) ? GST_BUFFER_PTS(buffer) + GST_BUFFER_DURATION(buffer) : GST_BUFFER_PTS(buffer), NULL, NULL)) {
    gst_buffer_unref(buffer);
    return GST_FLOW_OK;
  }
  pts = wall_time(self, pad, GST_BUFFER_PTS(buffer));
  dts = wall_time(self, pad, GST_BUFFER_DTS(buffer));
  swap = pts;
  switch (props_number(&self->props, "frame-timestamp")) {
    case 0:
      dts = pts != -1 ? pts : dts;
      break;
    case 1:
      pts = dts != -1 ? dts : pts;
      break;
    default:
      if (pts == -1) pts = dts;
      if (swap == -1) dts = pts;
      break;
  }
  if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT)) flags |= SLUICE_FRAME_KEY;
  if (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DROPPABLE)) flags |= SLUICE_FRAME_DISCARDABLE;
  if (GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT)) flags |= SLUICE_FRAME_DISCONT;

  if (!gst_buffer_map(buffer, &map, GST_MAP_READ)) {
    gst_buffer_unref(buffer);
    GST_ELEMENT_ERROR(self, RESOURCE, READ, ("A buffer can't be read."), (NULL));
    return GST_FLOW_ERROR;
  }
  flow = self->core->sink_put(self->sink, pad->track, map.data, map.size, pts, dts,
                              GST_BUFFER_DURATION_IS_VALID(buffer) ? (gint64)GST_BUFFER_DURATION(buffer) : -1, flags);
  gst_buffer_unmap(buffer, &map);
  gst_buffer_unref(buffer);
  switch (flow) {
    case SLUICE_FLOW_FLUSHING:
      return GST_FLOW_FLUSHING;
    case SLUICE_FLOW_ERROR:
      return props_bool(&self->props, "stop-on-error") ? GST_FLOW_ERROR : GST_FLOW_OK;
    default:
      return GST_FLOW_OK;
  }
}

/* set_caps tells the core the pad's track, anew when the caps change. */
static gboolean set_caps(KvsSink *self, KvsPad *pad, GstCaps *caps) {
  GstStructure *s = gst_caps_get_structure(caps, 0);
  const GValue *data = gst_structure_get_value(s, "codec_data");
  GString *json = g_string_new("{");
  GstMapInfo map = {0};
  gchar *error = NULL;
  gint n;
  int result;

  json_string(json, "type", pad->is_video ? "video" : "audio");
  json_string(json, "caps", gst_structure_get_name(s));
  if (gst_structure_get_string(s, "stream-format") != NULL) json_string(json, "stream-format", gst_structure_get_string(s, "stream-format"));
  static const char *const numbers[] = {"width", "height", "rate", "channels"};
  for (guint i = 0; i < G_N_ELEMENTS(numbers); i++)
    if (gst_structure_get_int(s, numbers[i], &n)) g_string_append_printf(json, ",\"%s\":%d", numbers[i], n);
  g_string_append_c(json, '}');

  GstBuffer *buffer = data != NULL && GST_VALUE_HOLDS_BUFFER(data) ? gst_value_get_buffer(data) : NULL;
  if (buffer != NULL) gst_buffer_map(buffer, &map, GST_MAP_READ);
  result = self->core->sink_track(self->sink, pad->track, json->str, map.data, map.size, &error);
  if (buffer != NULL) gst_buffer_unmap(buffer, &map);
  g_string_free(json, TRUE);
  if (result != SLUICE_FLOW_OK) {
    GST_ELEMENT_ERROR(self, STREAM, FORMAT, ("These caps can't be sent: %s", error), ("%" GST_PTR_FORMAT, caps));
    self->core->free(error);
    return FALSE;
  }
  return TRUE;
}

/* custom takes the metadata and marker events of the official element. */
static gboolean custom(KvsSink *self, const GstStructure *s) {
  if (gst_structure_has_name(s, "kvs-add-metadata")) {
    const char *name = gst_structure_get_string(s, "name"), *value = gst_structure_get_string(s, "value");
    gboolean persist = FALSE;
    gst_structure_get_boolean(s, "persist", &persist);
    if (name == NULL || value == NULL || self->core->sink_metadata(self->sink, name, value, persist) != SLUICE_FLOW_OK)
      GST_ELEMENT_WARNING(self, STREAM, FAILED, ("Metadata was refused: a name has 1 to 128 characters and does not begin with AWS, a value at most 256."),
                          ("%" GST_PTR_FORMAT, s));
    return TRUE;
  }
  if (gst_structure_has_name(s, "kvs-add-image") || gst_structure_has_name(s, "kvs-add-notification") || gst_structure_has_name(s, "kvs-add-event")) {
    gint kinds = gst_structure_has_name(s, "kvs-add-notification") ? 2 : 1;
    gst_structure_get_int(s, "kinds", &kinds);
    GString *pairs = g_string_new("");
    const GValue *more = gst_structure_get_value(s, "pairs");
    json_structure(pairs, more != NULL && GST_VALUE_HOLDS_STRUCTURE(more) ? gst_value_get_structure(more) : NULL);
    if (self->core->sink_marker(self->sink, kinds, gst_structure_get_string(s, "prefix"), pairs->str) != SLUICE_FLOW_OK)
      GST_ELEMENT_WARNING(self, STREAM, FAILED, ("A marker was refused."), ("%" GST_PTR_FORMAT, s));
    g_string_free(pairs, TRUE);
    return TRUE;
  }
  return FALSE;
}

/* end waits, on the last pad's thread, until all is persisted, and then says so. */
static void end(KvsSink *self) {
  guint32 seqnum = gst_util_seqnum_next();
  gint64 timeout = (gint64)props_number(&self->props, "stop-stream-timeout") * GST_SECOND;
  if (self->core->sink_drain(self->sink, timeout) == 0 && !self->stopping)
    GST_ELEMENT_WARNING(self, RESOURCE, WRITE, ("Not all was acknowledged before stop-stream-timeout."), (NULL));
  GstMessage *eos = gst_message_new_eos(GST_OBJECT(self));
  gst_message_set_seqnum(eos, seqnum);
  gst_element_post_message(GST_ELEMENT(self), eos);
}

static gboolean event(GstPad *gstpad, GstObject *parent, GstEvent *e) {
  KvsSink *self = KVS_SINK(parent);
  KvsPad *pad = (KvsPad *)gstpad;
  gboolean ok = TRUE, last;
  GstCaps *caps;

  switch (GST_EVENT_TYPE(e)) {
    case GST_EVENT_CAPS:
      gst_event_parse_caps(e, &caps);
      ok = set_caps(self, pad, caps);
      break;
    case GST_EVENT_SEGMENT:
      gst_event_copy_segment(e, &pad->segment);
      break;
    case GST_EVENT_FLUSH_START:
      self->core->sink_unblock(self->sink, TRUE);
      break;
    case GST_EVENT_FLUSH_STOP:
      self->core->sink_unblock(self->sink, FALSE);
      self->core->sink_flush(self->sink);
      gst_segment_init(&pad->segment, GST_FORMAT_UNDEFINED);
      g_mutex_lock(&self->lock);
      self->anchored = FALSE;
      if (pad->eos) {
        pad->eos = FALSE;
        self->ended--;
      }
      g_mutex_unlock(&self->lock);
      break;
    case GST_EVENT_EOS:
      g_mutex_lock(&self->lock);
      if (!pad->eos) {
        pad->eos = TRUE;
        self->ended++;
      }
      last = self->ended == self->pads;
      g_mutex_unlock(&self->lock);
      if (last) end(self);
      break;
    case GST_EVENT_GAP:
      /* The core does not wait long for a track that is silent. */
      break;
    case GST_EVENT_CUSTOM_DOWNSTREAM:
    case GST_EVENT_CUSTOM_BOTH:
    case GST_EVENT_CUSTOM_DOWNSTREAM_OOB:
      if (gst_event_get_structure(e) != NULL && custom(self, gst_event_get_structure(e))) break;
      return gst_pad_event_default(gstpad, parent, e);
    default:
      return gst_pad_event_default(gstpad, parent, e);
  }
  gst_event_unref(e);
  return ok;
}

/* Metadata may also be given to the element itself. */
static gboolean send_event(GstElement *element, GstEvent *e) {
  KvsSink *self = KVS_SINK(element);
  if ((GST_EVENT_TYPE(e) == GST_EVENT_CUSTOM_DOWNSTREAM || GST_EVENT_TYPE(e) == GST_EVENT_CUSTOM_DOWNSTREAM_OOB || GST_EVENT_TYPE(e) == GST_EVENT_CUSTOM_BOTH) &&
      self->sink != 0 && gst_event_get_structure(e) != NULL && custom(self, gst_event_get_structure(e))) {
    gst_event_unref(e);
    return TRUE;
  }
  return GST_ELEMENT_CLASS(kvs_sink_parent_class)->send_event(element, e);
}

/* ---- pads ---- */

static GstPad *request_new_pad(GstElement *element, GstPadTemplate *template, const gchar *name, const GstCaps *caps) {
  KvsSink *self = KVS_SINK(element);
  gboolean is_video = template == gst_element_class_get_pad_template(GST_ELEMENT_GET_CLASS(element), "video_%u");
  KvsPad *pad;
  (void)name;
  (void)caps;
  g_mutex_lock(&self->lock);
  if ((is_video ? self->video : self->audio) != 0) {
    g_mutex_unlock(&self->lock);
    GST_ERROR_OBJECT(self, "one %s pad at most", is_video ? "video" : "audio");
    return NULL;
  }
  *(is_video ? &self->video : &self->audio) = 1;
  self->pads++;
  g_mutex_unlock(&self->lock);

  pad = g_object_new(kvs_pad_get_type(), "name", is_video ? "video_0" : "audio_0", "direction", GST_PAD_SINK, "template", template, NULL);
  pad->is_video = is_video;
  pad->track = is_video ? 1 : 2;
  gst_pad_set_chain_function(GST_PAD(pad), chain);
  gst_pad_set_event_function(GST_PAD(pad), event);
  gst_element_add_pad(element, GST_PAD(pad));
  return GST_PAD(pad);
}

static void release_pad(GstElement *element, GstPad *gstpad) {
  KvsSink *self = KVS_SINK(element);
  KvsPad *pad = (KvsPad *)gstpad;
  g_mutex_lock(&self->lock);
  *(pad->is_video ? &self->video : &self->audio) = 0;
  self->pads--;
  if (pad->eos) self->ended--;
  g_mutex_unlock(&self->lock);
  gst_pad_set_active(gstpad, FALSE);
  gst_element_remove_pad(element, gstpad);
}

/* ---- states ---- */

static gboolean open_core(KvsSink *self) {
  gchar *error = NULL, *json;
  self->core = sluice_core_load(&error);
  if (self->core == NULL) {
    GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("%s", error), (NULL));
    g_free(error);
    return FALSE;
  }
  json = props_json(&self->props);
  /* The pads that exist are the tracks that are waited for. */
  GString *config = g_string_new(json);
  g_free(json);
  g_string_truncate(config, config->len - 1);
  g_string_append_printf(config, ",\"video\":%s,\"audio\":%s}", self->video ? "true" : "false", self->audio ? "true" : "false");
  self->sink = self->core->sink_open(config->str, on_event, self, &error);
  g_string_free(config, TRUE);
  if (self->sink == 0) {
    GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("%s", error), (NULL));
    self->core->free(error);
    return FALSE;
  }
  self->failed = self->stopping = FALSE;
  self->anchored = FALSE;
  return TRUE;
}

static GstStateChangeReturn change_state(GstElement *element, GstStateChange transition) {
  KvsSink *self = KVS_SINK(element);
  GstStateChangeReturn result;

  switch (transition) {
    case GST_STATE_CHANGE_NULL_TO_READY:
      if (!open_core(self)) return GST_STATE_CHANGE_FAILURE;
      break;
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      self->core->sink_unblock(self->sink, FALSE);
      g_mutex_lock(&self->lock);
      self->ended = 0;
      self->stopping = FALSE;
      self->anchored = FALSE;
      for (GList *l = element->sinkpads; l != NULL; l = l->next) ((KvsPad *)l->data)->eos = FALSE;
      g_mutex_unlock(&self->lock);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      /* Whatever waits in a pad's thread must return, or the pads can't stop. */
      self->stopping = TRUE;
      self->core->sink_unblock(self->sink, TRUE);
      break;
    default:
      break;
  }
  result = GST_ELEMENT_CLASS(kvs_sink_parent_class)->change_state(element, transition);
  if (result == GST_STATE_CHANGE_FAILURE) return result;
  switch (transition) {
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      /* Running time stands still while the wall clock goes on. */
      g_mutex_lock(&self->lock);
      self->anchored = FALSE;
      g_mutex_unlock(&self->lock);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      self->core->sink_flush(self->sink);
      break;
    case GST_STATE_CHANGE_READY_TO_NULL:
      if (self->sink != 0) self->core->sink_close(self->sink, (gint64)props_number(&self->props, "stop-stream-timeout") * GST_SECOND);
      self->sink = 0;
      break;
    default:
      break;
  }
  return result;
}

/* ---- class ---- */

static void set_property(GObject *object, guint id, const GValue *v, GParamSpec *spec) {
  (void)spec;
  props_set(&KVS_SINK(object)->props, id, v);
}

static void get_property(GObject *object, guint id, GValue *v, GParamSpec *spec) {
  (void)spec;
  props_get(&KVS_SINK(object)->props, id, v);
}

static void finalize(GObject *object) {
  KvsSink *self = KVS_SINK(object);
  if (self->sink != 0) self->core->sink_close(self->sink, 0);
  props_clear(&self->props);
  g_mutex_clear(&self->lock);
  G_OBJECT_CLASS(kvs_sink_parent_class)->finalize(object);
}

static void kvs_sink_class_init(KvsSinkClass *klass) {
  GObjectClass *object = G_OBJECT_CLASS(klass);
  GstElementClass *element = GST_ELEMENT_CLASS(klass);

  GST_DEBUG_CATEGORY_INIT(kvs_sink_debug, "kvssink", 0, "kvssink");
  object->set_property = set_property;
  object->get_property = get_property;
  object->finalize = finalize;
  props_install(object, rows, G_N_ELEMENTS(rows));
  signals[SIGNAL_ERROR] = g_signal_new("stream-error", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1, G_TYPE_UINT64);
  signals[SIGNAL_ACK] = g_signal_new("fragment-ack", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1, G_TYPE_POINTER);
  signals[SIGNAL_METRIC] = g_signal_new("stream-client-metric", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1, GST_TYPE_STRUCTURE);
  signals[SIGNAL_ACK_STRUCTURE] = g_signal_new("ack", G_TYPE_FROM_CLASS(klass), G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1, GST_TYPE_STRUCTURE);

  element->change_state = change_state;
  element->request_new_pad = request_new_pad;
  element->release_pad = release_pad;
  element->send_event = send_event;
  gst_element_class_add_static_pad_template(element, &video_template);
  gst_element_class_add_static_pad_template(element, &audio_template);
  gst_element_class_set_static_metadata(element, "KVS Sink", "Sink/Video/Network", "Sends media to a Kinesis video stream, of Sluice or AWS", "The Sluice developers");
}

static void kvs_sink_init(KvsSink *self) {
  g_mutex_init(&self->lock);
  props_init(&self->props, rows, G_N_ELEMENTS(rows));
  GST_OBJECT_FLAG_SET(self, GST_ELEMENT_FLAG_SINK);
}
