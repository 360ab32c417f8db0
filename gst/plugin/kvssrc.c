/* kvssrc: reads a stream, live, from a time, or a range, frame by frame.
 *
 * A pad appears for each track that is found. A live source gives frames the
 * running time of their arrival; a range begins at running time 0, and a
 * buffer's offset in it is its producer time less that of the first frame. */
#include <gst/gst.h>
#include <string.h>

#include "core.h"
#include "kvssink.h"
#include "props.h"

GST_DEBUG_CATEGORY_STATIC(kvs_src_debug);
#define GST_CAT_DEFAULT kvs_src_debug

static GType time_of_type(void) {
  static gsize type = 0;
  static const GEnumValue values[] = {
      {0, "when the server received it", "server"},
      {1, "when the producer says it was made", "producer"},
      {0, NULL, NULL},
  };
  if (g_once_init_enter(&type)) g_once_init_leave(&type, g_enum_register_static("SluiceKvsSrcTimeOf", values));
  return type;
}

static const struct prop rows[] = {
    {"stream-name", PROP_STRING, "DEFAULT_STREAM", 0, 0, NULL, "Name of the stream", FALSE},
    {"start-at", PROP_STRING, "now", 0, 0, NULL, "now, earliest, RFC 3339, seconds since the epoch, or -90s", FALSE},
    {"stop-at", PROP_STRING, NULL, 0, 0, NULL, "As start-at; none: never", FALSE},
    {"time-of", PROP_ENUM, NULL, 0, 0, time_of_type, "Which time start-at and stop-at are", FALSE},
    {"latency", PROP_UINT, NULL, 200, 0, NULL, "Milliseconds that sinks of a live stream wait, so that late frames are shown in time", FALSE},
    {"user-agent", PROP_STRING, NULL, 0, 0, NULL, "Put in front of the User-Agent header", FALSE},
    {"access-key", PROP_STRING, "access_key", 0, 0, NULL, "AWS access key", TRUE},
    {"secret-key", PROP_STRING, "secret_key", 0, 0, NULL, "AWS secret key", TRUE},
    {"session-token", PROP_STRING, "session_token", 0, 0, NULL, "AWS session token", TRUE},
    {"aws-region", PROP_STRING, "us-west-2", 0, 0, NULL, "AWS region; when set it beats AWS_DEFAULT_REGION", FALSE},
    {"credential-path", PROP_STRING, ".kvs/credential", 0, 0, NULL, "File with credentials, read again when it changes", FALSE},
    {"iot-certificate", PROP_STRUCTURE, NULL, 0, 0, NULL, "As of kvssink", FALSE},
    {"endpoint", PROP_STRING, NULL, 0, 0, NULL, "URL of the control plane; else CONTROL_PLANE_URI, AWS_ENDPOINT_URL, AWS", FALSE},
    {"ca-file", PROP_STRING, NULL, 0, 0, NULL, "PEM file with the authorities to trust", FALSE},
};

typedef struct {
  GstElement parent;
  struct props props;
  const struct sluice_core *core;
  guint64 source;
  GstTask *task;
  GRecMutex task_lock;
  gboolean live;
  gboolean stopping; /* under the object lock: the task does not begin again */
  gint ending;       /* atomic: EOS was asked for */

  /* Of the task alone, or while it stands. */
  GstPad *pads[3]; /* by track: 1 video, 2 audio */
  gboolean begun[3];
  GstFlowReturn flow[3]; /* what downstream said last */
  gboolean discont;
  gboolean complete;   /* all pads were announced */
  gint64 stop;         /* of a seek: stream time; -1: none */
  gint64 origin;       /* producer time at stream time 0, ns; -1 before the first frame */
  GstClockTime base;   /* running time of origin */
  GstSegment segment;
  guint group;
  guint32 seqnum;
} KvsSrc;

typedef struct {
  GstElementClass parent;
} KvsSrcClass;

G_DEFINE_TYPE(KvsSrc, kvs_src, GST_TYPE_ELEMENT)
#define KVS_SRC(o) ((KvsSrc *)(o))

static GstStaticPadTemplate video_template = GST_STATIC_PAD_TEMPLATE(
    "video_%u", GST_PAD_SRC, GST_PAD_SOMETIMES,
    GST_STATIC_CAPS("video/x-h264; video/x-h265; video/x-vp8; video/x-vp9; image/jpeg"));
static GstStaticPadTemplate audio_template = GST_STATIC_PAD_TEMPLATE(
    "audio_%u", GST_PAD_SRC, GST_PAD_SOMETIMES, GST_STATIC_CAPS("audio/mpeg; audio/x-opus; audio/x-alaw; audio/x-mulaw"));

static void on_event(void *user, int kind, const char *text) {
  KvsSrc *self = user;
  GstStructure *s = gst_structure_from_string(text, NULL);
  if (s == NULL) return;
  if (kind == SLUICE_EVENT_ERROR) {
    GST_ELEMENT_ERROR(self, RESOURCE, READ, ("%s", gst_structure_get_string(s, "message")), (NULL));
    gst_structure_free(s);
    return;
  }
  gst_element_post_message(GST_ELEMENT(self), gst_message_new_element(GST_OBJECT(self), s));
}

/* set_task changes the task's state; a task that has to end is not paused any
 * more, or whoever waits for its end would wait for ever. */
static void set_task(KvsSrc *self, GstTaskState state) {
  GST_OBJECT_LOCK(self);
  if (state == GST_TASK_STOPPED) self->stopping = TRUE;
  if (!self->stopping || state == GST_TASK_STOPPED) gst_task_set_state(self->task, state);
  GST_OBJECT_UNLOCK(self);
}

static void push_all(KvsSrc *self, GstEvent *e) {
  for (int i = 1; i < 3; i++)
    if (self->pads[i] != NULL) gst_pad_push_event(self->pads[i], gst_event_ref(e));
  gst_event_unref(e);
}

static gboolean src_event(GstPad *pad, GstObject *parent, GstEvent *e);
static gboolean src_query(GstPad *pad, GstObject *parent, GstQuery *q);

static GstPad *pad_for(KvsSrc *self, const struct sluice_frame *f) {
  GstPad *pad = self->pads[f->track];
  if (pad != NULL) return pad;
  GstElementClass *klass = GST_ELEMENT_GET_CLASS(self);
  GstPadTemplate *template = gst_element_class_get_pad_template(klass, f->track == 1 ? "video_%u" : "audio_%u");
  pad = gst_pad_new_from_template(template, f->track == 1 ? "video_0" : "audio_0");
  gst_pad_set_event_function(pad, src_event);
  gst_pad_set_query_function(pad, src_query);
  gst_pad_use_fixed_caps(pad);
  gst_pad_set_active(pad, TRUE);
  self->pads[f->track] = pad;
  gchar *id = gst_pad_create_stream_id(pad, GST_ELEMENT(self), f->track == 1 ? "video" : "audio");
  GstEvent *start = gst_event_new_stream_start(id);
  gst_event_set_group_id(start, self->group);
  g_free(id);
  gst_pad_push_event(pad, start);
  return pad;
}

/* begin gives a pad its caps. */
static void begin(GstPad *pad, const struct sluice_frame *f) {
  GstCaps *caps = gst_caps_from_string(f->caps);
  if (f->codec_data_size > 0) {
    GstBuffer *data = gst_buffer_new_memdup(f->codec_data, f->codec_data_size);
    gst_caps_set_simple(caps, "codec_data", GST_TYPE_BUFFER, data, NULL);
    gst_buffer_unref(data);
  }
  gst_pad_push_event(pad, gst_event_new_caps(caps));
  gst_caps_unref(caps);
}

static void segment(KvsSrc *self, GstPad *pad) {
  GstEvent *e = gst_event_new_segment(&self->segment);
  gst_event_set_seqnum(e, self->seqnum);
  gst_pad_push_event(pad, e);
}

/* timestamp is a producer time as stream time; a live stream's first frame has
 * the running time it arrived at. */
static GstClockTime timestamp(KvsSrc *self, gint64 t) {
  gint64 at;
  if (t < 0) return GST_CLOCK_TIME_NONE;
  at = t - self->origin + (self->live ? (gint64)self->base : 0);
  return at < 0 ? 0 : (GstClockTime)at;
}

/* announce says that there will be no more pads, when each track of the stream
 * has one. */
static void announce(KvsSrc *self, guint32 tracks) {
  for (int i = 1; i < 3; i++)
    if ((tracks & (1u << (i - 1))) != 0 && self->pads[i] == NULL) return;
  if (!self->complete) gst_element_no_more_pads(GST_ELEMENT(self));
  self->complete = TRUE;
}

static void finish(KvsSrc *self) {
  announce(self, 0);
  GstEvent *eos = gst_event_new_eos();
  gst_event_set_seqnum(eos, self->seqnum);
  push_all(self, eos);
  set_task(self, GST_TASK_PAUSED);
}

/* pushed looks at what all pads' peers said: one that is not linked, or has
 * enough, does not end the others. */
static void pushed(KvsSrc *self, int track, GstFlowReturn flow) {
  gboolean wanted = FALSE, eos = FALSE;
  self->flow[track] = flow;
  switch (flow) {
    case GST_FLOW_OK:
      return;
    case GST_FLOW_FLUSHING:
      set_task(self, GST_TASK_PAUSED);
      return;
    case GST_FLOW_NOT_LINKED:
    case GST_FLOW_EOS:
      for (int i = 1; i < 3; i++) {
        if (self->pads[i] == NULL) continue;
        if (self->flow[i] == GST_FLOW_OK) wanted = TRUE;
        if (self->flow[i] == GST_FLOW_EOS) eos = TRUE;
      }
      if (wanted || !self->complete) return;
      if (eos) {
        finish(self);
        return;
      }
      break;
    default:
      break;
  }
  GST_ELEMENT_FLOW_ERROR(self, flow);
  finish(self);
}

static void loop(gpointer user) {
  KvsSrc *self = user;
  struct sluice_frame f;
  int flow;

  memset(&f, 0, sizeof f);
  flow = g_atomic_int_get(&self->ending) ? SLUICE_FLOW_EOS : self->core->source_next(self->source, &f);
  if (flow == SLUICE_FLOW_FLUSHING && g_atomic_int_get(&self->ending)) flow = SLUICE_FLOW_EOS;
  if (flow == SLUICE_FLOW_FLUSHING) {
    set_task(self, GST_TASK_PAUSED);
    return;
  }
  if (flow != SLUICE_FLOW_OK) {
    /* Without a pad nobody hears of the end. An error was told already. */
    if (flow == SLUICE_FLOW_EOS && self->pads[1] == NULL && self->pads[2] == NULL)
      GST_ELEMENT_ERROR(self, RESOURCE, NOT_FOUND, ("There was nothing to read."), (NULL));
    finish(self);
    return;
  }
  if (self->origin < 0) {
    self->origin = f.pts;
    if (self->live) {
      GstClock *clock = gst_element_get_clock(GST_ELEMENT(self));
      self->base = 0;
      if (clock != NULL) {
        GstClockTimeDiff running = GST_CLOCK_DIFF(gst_element_get_base_time(GST_ELEMENT(self)), gst_clock_get_time(clock));
        self->base = running > 0 ? (GstClockTime)running : 0;
        gst_object_unref(clock);
      }
    }
  }
  gboolean fresh = self->pads[f.track] == NULL;
  GstPad *pad = pad_for(self, &f);
  if (f.caps != NULL) begin(pad, &f);
  if (!self->begun[f.track]) {
    self->begun[f.track] = TRUE;
    segment(self, pad);
  }
  if (fresh) gst_element_add_pad(GST_ELEMENT(self), gst_object_ref(pad));
  announce(self, f.tracks);

  GstBuffer *buffer = gst_buffer_new_memdup(f.data, f.size);
  GST_BUFFER_PTS(buffer) = timestamp(self, f.pts);
  GST_BUFFER_DTS(buffer) = timestamp(self, f.dts);
  GST_BUFFER_OFFSET(buffer) = (guint64)f.pts;
  if (f.duration >= 0) GST_BUFFER_DURATION(buffer) = f.duration;
  if (!(f.flags & SLUICE_FRAME_KEY)) GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
  if (f.flags & SLUICE_FRAME_DISCARDABLE) GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DROPPABLE);
  if (fresh || self->discont) GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
  self->discont = FALSE;
  self->core->free(f.data);
  if (f.caps != NULL) self->core->free(f.caps);
  if (f.codec_data != NULL) self->core->free(f.codec_data);

  /* Pictures come in decoding order: those shown a little before the end are
   * behind some that are shown after it. */
  if (self->stop >= 0 && GST_BUFFER_PTS(buffer) > (guint64)self->stop + GST_SECOND) {
    gst_buffer_unref(buffer);
    finish(self);
    return;
  }
  pushed(self, f.track, gst_pad_push(pad, buffer));
}

/* seek takes flushing seeks to a time of a range. */
static gboolean seek(KvsSrc *self, GstEvent *e) {
  gdouble rate;
  GstFormat format;
  GstSeekFlags flags;
  GstSeekType start_type, stop_type;
  gint64 start, stop;
  gboolean update;
  GstEvent *flush;
  gst_event_parse_seek(e, &rate, &format, &flags, &start_type, &start, &stop_type, &stop);
  if (self->live || format != GST_FORMAT_TIME || rate <= 0 || start_type != GST_SEEK_TYPE_SET || !(flags & GST_SEEK_FLAG_FLUSH)) return FALSE;

  self->core->source_unblock(self->source, TRUE);
  flush = gst_event_new_flush_start();
  gst_event_set_seqnum(flush, gst_event_get_seqnum(e));
  push_all(self, flush);
  set_task(self, GST_TASK_PAUSED);
  g_rec_mutex_lock(&self->task_lock); /* the task stands */
  gboolean known = self->origin >= 0;
  if (known) {
    self->core->source_seek(self->source, self->origin + start);
    self->seqnum = gst_event_get_seqnum(e);
  }
  self->core->source_unblock(self->source, FALSE);
  flush = gst_event_new_flush_stop(TRUE);
  gst_event_set_seqnum(flush, self->seqnum);
  push_all(self, flush);
  if (known) {
    gst_segment_do_seek(&self->segment, rate, format, flags, start_type, (guint64)start, stop_type, (guint64)stop, &update);
    self->segment.position = self->segment.time = self->segment.start;
    self->stop = GST_CLOCK_TIME_IS_VALID(self->segment.stop) ? (gint64)self->segment.stop : -1;
  }
  self->discont = TRUE;
  for (int i = 1; i < 3; i++) self->flow[i] = GST_FLOW_OK;
  memset(self->begun, 0, sizeof self->begun); /* a segment goes before the next buffer */
  g_rec_mutex_unlock(&self->task_lock);
  set_task(self, GST_TASK_STARTED);
  return known;
}

static gboolean src_event(GstPad *pad, GstObject *parent, GstEvent *e) {
  gboolean ok;
  if (GST_EVENT_TYPE(e) != GST_EVENT_SEEK) return gst_pad_event_default(pad, parent, e);
  ok = seek(KVS_SRC(parent), e);
  gst_event_unref(e);
  return ok;
}

static gboolean src_query(GstPad *pad, GstObject *parent, GstQuery *q) {
  KvsSrc *self = KVS_SRC(parent);
  GstFormat format;
  switch (GST_QUERY_TYPE(q)) {
    case GST_QUERY_LATENCY:
      gst_query_set_latency(q, self->live, self->live ? props_number(&self->props, "latency") * GST_MSECOND : 0, GST_CLOCK_TIME_NONE);
      return TRUE;
    case GST_QUERY_SEEKING:
      gst_query_parse_seeking(q, &format, NULL, NULL, NULL);
      gst_query_set_seeking(q, GST_FORMAT_TIME, format == GST_FORMAT_TIME && !self->live, 0, -1);
      return TRUE;
    default:
      return gst_pad_query_default(pad, parent, q);
  }
}

/* send_event ends the stream when a program sends EOS, as gst-launch-1.0 -e does. */
static gboolean send_event(GstElement *element, GstEvent *e) {
  KvsSrc *self = KVS_SRC(element);
  if (GST_EVENT_TYPE(e) != GST_EVENT_EOS || GST_STATE(element) < GST_STATE_PAUSED) return GST_ELEMENT_CLASS(kvs_src_parent_class)->send_event(element, e);
  g_atomic_int_set(&self->ending, TRUE);
  self->core->source_unblock(self->source, TRUE);
  set_task(self, GST_TASK_STARTED); /* it pushes the EOS */
  gst_event_unref(e);
  return TRUE;
}

static gboolean is_live(KvsSrc *self) {
  gboolean live;
  GValue v = G_VALUE_INIT;
  g_value_init(&v, G_TYPE_STRING);
  g_object_get_property(G_OBJECT(self), "start-at", &v);
  live = g_value_get_string(&v) == NULL || strcmp(g_value_get_string(&v), "now") == 0;
  g_value_unset(&v);
  return live;
}

static gboolean open_core(KvsSrc *self) {
  gchar *error = NULL, *config;
  self->core = sluice_core_load(&error);
  if (self->core == NULL) {
    GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("%s", error), (NULL));
    g_free(error);
    return FALSE;
  }
  config = props_json(&self->props);
  self->source = self->core->source_open(config, on_event, self, &error);
  g_free(config);
  if (self->source == 0) {
    GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("%s", error), (NULL));
    self->core->free(error);
    return FALSE;
  }
  return TRUE;
}

static GstStateChangeReturn change_state(GstElement *element, GstStateChange transition) {
  KvsSrc *self = KVS_SRC(element);
  GstStateChangeReturn result;
  switch (transition) {
    case GST_STATE_CHANGE_NULL_TO_READY:
      self->live = is_live(self);
      if (!open_core(self)) return GST_STATE_CHANGE_FAILURE;
      break;
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      GST_OBJECT_LOCK(self);
      self->stopping = FALSE;
      GST_OBJECT_UNLOCK(self);
      self->origin = -1;
      self->base = 0;
      self->stop = -1;
      self->complete = FALSE;
      g_atomic_int_set(&self->ending, FALSE);
      self->discont = FALSE;
      gst_segment_init(&self->segment, GST_FORMAT_TIME);
      for (int i = 1; i < 3; i++) self->flow[i] = GST_FLOW_OK;
      self->group = gst_util_group_id_next();
      self->seqnum = gst_util_seqnum_next();
      memset(self->begun, 0, sizeof self->begun);
      self->core->source_unblock(self->source, FALSE);
      if (!self->live) set_task(self, GST_TASK_STARTED);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_PLAYING:
      if (!self->live) break;
      if (self->origin >= 0) { /* after a pause: what is live now */
        self->core->source_seek(self->source, -1);
        g_rec_mutex_lock(&self->task_lock);
        self->origin = -1;
        self->discont = TRUE;
        g_rec_mutex_unlock(&self->task_lock);
      }
      self->core->source_unblock(self->source, FALSE);
      set_task(self, GST_TASK_STARTED);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      self->core->source_unblock(self->source, TRUE);
      for (int i = 1; i < 3; i++)
        if (self->pads[i] != NULL) gst_pad_set_active(self->pads[i], FALSE);
      set_task(self, GST_TASK_STOPPED);
      gst_task_join(self->task);
      break;
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      if (!self->live) break;
      self->core->source_unblock(self->source, TRUE);
      set_task(self, GST_TASK_PAUSED);
      break;
    default:
      break;
  }
  result = GST_ELEMENT_CLASS(kvs_src_parent_class)->change_state(element, transition);
  if (result == GST_STATE_CHANGE_FAILURE) return result;
  switch (transition) {
    case GST_STATE_CHANGE_READY_TO_PAUSED:
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      if (self->live) result = GST_STATE_CHANGE_NO_PREROLL;
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      self->core->source_seek(self->source, -2);
      for (int i = 1; i < 3; i++) {
        if (self->pads[i] == NULL) continue;
        gst_element_remove_pad(element, self->pads[i]);
        gst_object_unref(self->pads[i]);
        self->pads[i] = NULL;
      }
      break;
    case GST_STATE_CHANGE_READY_TO_NULL:
      if (self->source != 0) self->core->source_close(self->source);
      self->source = 0;
      break;
    default:
      break;
  }
  return result;
}

static void set_property(GObject *object, guint id, const GValue *v, GParamSpec *spec) {
  (void)spec;
  props_set(&KVS_SRC(object)->props, id, v);
}

static void get_property(GObject *object, guint id, GValue *v, GParamSpec *spec) {
  (void)spec;
  props_get(&KVS_SRC(object)->props, id, v);
}

static void finalize(GObject *object) {
  KvsSrc *self = KVS_SRC(object);
  if (self->source != 0) self->core->source_close(self->source);
  gst_object_unref(self->task);
  g_rec_mutex_clear(&self->task_lock);
  props_clear(&self->props);
  G_OBJECT_CLASS(kvs_src_parent_class)->finalize(object);
}

static void kvs_src_class_init(KvsSrcClass *klass) {
  GObjectClass *object = G_OBJECT_CLASS(klass);
  GstElementClass *element = GST_ELEMENT_CLASS(klass);
  GST_DEBUG_CATEGORY_INIT(kvs_src_debug, "kvssrc", 0, "kvssrc");
  object->set_property = set_property;
  object->get_property = get_property;
  object->finalize = finalize;
  props_install(object, rows, G_N_ELEMENTS(rows));
  element->change_state = change_state;
  element->send_event = send_event;
  gst_element_class_add_static_pad_template(element, &video_template);
  gst_element_class_add_static_pad_template(element, &audio_template);
  gst_element_class_set_static_metadata(element, "KVS Source", "Source/Video/Network", "Reads a Kinesis video stream, of Sluice or AWS", "The Sluice developers");
}

static void kvs_src_init(KvsSrc *self) {
  g_rec_mutex_init(&self->task_lock);
  self->task = gst_task_new(loop, self, NULL);
  gst_task_set_lock(self->task, &self->task_lock);
  props_init(&self->props, rows, G_N_ELEMENTS(rows));
  GST_OBJECT_FLAG_SET(self, GST_ELEMENT_FLAG_SOURCE);
}
