/* kvssink: sends encoded video and audio to a stream.
 *
 * Each pad hands its frames straight to the core, which puts the tracks into one
 * order with a bounded wait: a silent track holds nothing up. No state change
 * waits for the network. */
#include "kvssink.h"

#include <string.h>

#include "sink.h"

GST_DEBUG_CATEGORY(kvs_sink_debug);

GType kvs_pad_get_type(void);
G_DEFINE_TYPE(KvsPad, kvs_pad, GST_TYPE_PAD)
static void kvs_pad_class_init(KvsPadClass *klass) { (void)klass; }
static void kvs_pad_init(KvsPad *pad) { gst_segment_init(&pad->segment, GST_FORMAT_UNDEFINED); }

G_DEFINE_TYPE(KvsSink, kvs_sink, GST_TYPE_ELEMENT)

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

/* The element that tells something on this thread: one that is stopped by a
 * handler of its own signals can't wait until the handler has returned. */
static GPrivate telling;

static void on_event(void *user, int kind, const char *text) {
  KvsSink *self = gst_object_ref(user);
  GstStructure *s = gst_structure_from_string(text, NULL);
  gpointer outer = g_private_get(&telling);
  if (s == NULL) {
    GST_ERROR_OBJECT(self, "the core told nonsense: %s", text);
    gst_object_unref(self);
    return;
  }
  g_private_set(&telling, self);
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
      if (final) { /* programs end on the signal: what passes is a warning */
        g_signal_emit(self, signals[SIGNAL_ERROR], 0, (guint64)status);
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
  g_private_set(&telling, outer);
  gst_object_unref(self);
}

/* ---- what the pads are told ---- */

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
  result = self->core->sink_track(kvs_sink_handle(self), pad->track, json->str, map.data, map.size, &error);
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
  if (!g_str_has_prefix(gst_structure_get_name(s), "kvs-add-") || kvs_sink_handle(self) == 0) return FALSE;
  if (gst_structure_has_name(s, "kvs-add-metadata")) {
    const char *name = gst_structure_get_string(s, "name"), *value = gst_structure_get_string(s, "value");
    gboolean persist = FALSE;
    gst_structure_get_boolean(s, "persist", &persist);
    if (name == NULL || value == NULL || self->core->sink_metadata(kvs_sink_handle(self), name, value, persist) != SLUICE_FLOW_OK)
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
    if (self->core->sink_marker(kvs_sink_handle(self), kinds, gst_structure_get_string(s, "prefix"), pairs->str) != SLUICE_FLOW_OK)
      GST_ELEMENT_WARNING(self, STREAM, FAILED, ("A marker was refused."), ("%" GST_PTR_FORMAT, s));
    g_string_free(pairs, TRUE);
    return TRUE;
  }
  return FALSE;
}

/* end waits until all is persisted, and then says so. */
static void end(KvsSink *self, guint32 seqnum) {
  gint64 timeout = (gint64)props_number(&self->props, "stop-stream-timeout") * GST_SECOND;
  gboolean drained = self->core->sink_drain(kvs_sink_handle(self), timeout) != 0, stopping;
  g_mutex_lock(&self->lock);
  stopping = self->stopping;
  g_mutex_unlock(&self->lock);
  if (stopping) return;
  if (!drained) GST_ELEMENT_WARNING(self, RESOURCE, WRITE, ("Not all was acknowledged before stop-stream-timeout."), (NULL));
  GstMessage *eos = gst_message_new_eos(GST_OBJECT(self));
  gst_message_set_seqnum(eos, seqnum);
  gst_element_post_message(GST_ELEMENT(self), eos);
}

static void flush_start(KvsSink *self, KvsPad *pad) {
  g_mutex_lock(&self->lock);
  pad->flushing = TRUE;
  g_cond_broadcast(&self->changed);
  g_mutex_unlock(&self->lock);
  self->core->sink_unblock(kvs_sink_handle(self), TRUE);
}

static gboolean event(GstPad *gstpad, GstObject *parent, GstEvent *e) {
  KvsSink *self = KVS_SINK(parent);
  KvsPad *pad = (KvsPad *)gstpad;
  gboolean ok = TRUE, last;
  GstCaps *caps;

  if (self->core == NULL) return gst_pad_event_default(gstpad, parent, e);
  switch (GST_EVENT_TYPE(e)) {
    case GST_EVENT_CAPS:
      gst_event_parse_caps(e, &caps);
      ok = set_caps(self, pad, caps);
      break;
    case GST_EVENT_SEGMENT:
      gst_event_copy_segment(e, &pad->segment);
      break;
    case GST_EVENT_FLUSH_START:
      flush_start(self, pad);
      break;
    case GST_EVENT_FLUSH_STOP:
      self->core->sink_unblock(kvs_sink_handle(self), FALSE);
      self->core->sink_flush(kvs_sink_handle(self));
      gst_segment_init(&pad->segment, GST_FORMAT_UNDEFINED);
      g_mutex_lock(&self->lock);
      pad->flushing = FALSE;
      self->anchored = FALSE;
      gst_event_parse_flush_stop(e, &self->flushed);
      if (pad->eos) {
        pad->eos = FALSE;
        self->ended--;
      }
      g_mutex_unlock(&self->lock);
      break;
    case GST_EVENT_EOS:
      if (!kvs_sink_hold(self, pad)) {
        ok = FALSE;
        break;
      }
      g_mutex_lock(&self->lock);
      if (!pad->eos) {
        pad->eos = TRUE;
        self->ended++;
      }
      last = self->ended == self->pads;
      g_mutex_unlock(&self->lock);
      if (last) end(self, gst_event_get_seqnum(e));
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

/* send_event takes what a program sends to the element itself: metadata, and what
 * has to go upstream, such as seeks and the latency. */
static gboolean send_event(GstElement *element, GstEvent *e) {
  KvsSink *self = KVS_SINK(element);
  if ((GST_EVENT_TYPE(e) == GST_EVENT_CUSTOM_DOWNSTREAM || GST_EVENT_TYPE(e) == GST_EVENT_CUSTOM_DOWNSTREAM_OOB || GST_EVENT_TYPE(e) == GST_EVENT_CUSTOM_BOTH) &&
      gst_event_get_structure(e) != NULL && custom(self, gst_event_get_structure(e))) {
    gst_event_unref(e);
    return TRUE;
  }
  if (GST_EVENT_IS_UPSTREAM(e) && !GST_EVENT_IS_DOWNSTREAM(e)) {
    GList *pads = NULL;
    gboolean ok = FALSE, all = GST_EVENT_TYPE(e) == GST_EVENT_LATENCY;
    GST_OBJECT_LOCK(element);
    for (GList *l = element->sinkpads; l != NULL; l = l->next) pads = g_list_append(pads, gst_object_ref(l->data));
    GST_OBJECT_UNLOCK(element);
    for (GList *l = pads; l != NULL && (all || !ok); l = l->next) ok = gst_pad_push_event(GST_PAD(l->data), gst_event_ref(e)) || ok;
    g_list_free_full(pads, gst_object_unref);
    gst_event_unref(e);
    return ok;
  }
  return GST_ELEMENT_CLASS(kvs_sink_parent_class)->send_event(element, e);
}

/* ---- pads ---- */

static void tell_pads(KvsSink *self) {
  g_mutex_lock(&self->lock);
  guint64 sink = self->sink;
  gboolean video = self->video != 0, audio = self->audio != 0;
  g_mutex_unlock(&self->lock);
  if (sink != 0) self->core->sink_pads(sink, video, audio);
}

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
  tell_pads(self);

  pad = g_object_new(kvs_pad_get_type(), "name", is_video ? "video_0" : "audio_0", "direction", GST_PAD_SINK, "template", template, NULL);
  /* Depayloaders don't know the size of a picture, which the template asks for. */
  GST_PAD_SET_ACCEPT_INTERSECT(GST_PAD(pad));
  pad->is_video = is_video;
  pad->track = is_video ? 1 : 2;
  gst_pad_set_chain_function(GST_PAD(pad), kvs_sink_chain);
  gst_pad_set_event_function(GST_PAD(pad), event);
  if (GST_STATE(element) >= GST_STATE_PAUSED || GST_STATE_TARGET(element) >= GST_STATE_PAUSED) gst_pad_set_active(GST_PAD(pad), TRUE);
  gst_element_add_pad(element, GST_PAD(pad));
  return GST_PAD(pad);
}

static void end_later(GstElement *element, gpointer seqnum) { end(KVS_SINK(element), GPOINTER_TO_UINT(seqnum)); }

static void release_pad(GstElement *element, GstPad *gstpad) {
  KvsSink *self = KVS_SINK(element);
  KvsPad *pad = (KvsPad *)gstpad;
  gboolean last;
  /* Its thread may wait in the core, or in hold. */
  if (self->core != NULL) flush_start(self, pad);
  gst_pad_set_active(gstpad, FALSE);
  g_mutex_lock(&self->lock);
  *(pad->is_video ? &self->video : &self->audio) = 0;
  self->pads--;
  if (pad->eos) self->ended--;
  last = !pad->eos && self->pads > 0 && self->ended == self->pads && self->sink != 0 && !self->stopping;
  g_mutex_unlock(&self->lock);
  if (self->core != NULL) self->core->sink_unblock(kvs_sink_handle(self), FALSE);
  tell_pads(self);
  gst_element_remove_pad(element, gstpad);
  /* The pad that went was the one that was waited for. */
  if (last) gst_element_call_async(element, end_later, GUINT_TO_POINTER(gst_util_seqnum_next()), NULL);
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
  guint64 sink = self->core->sink_open(config->str, on_event, self, &error);
  g_string_free(config, TRUE);
  if (sink == 0) {
    GST_ELEMENT_ERROR(self, LIBRARY, INIT, ("%s", error), (NULL));
    self->core->free(error);
    return FALSE;
  }
  g_mutex_lock(&self->lock);
  self->sink = sink;
  self->failed = self->stopping = self->anchored = FALSE;
  g_mutex_unlock(&self->lock);
  return TRUE;
}

struct closing {
  KvsSink *self;
  guint64 sink;
  gint64 timeout;
};

static gpointer close_later(gpointer user) {
  struct closing *c = user;
  c->self->core->sink_close(c->sink, c->timeout);
  gst_object_unref(c->self);
  g_free(c);
  return NULL;
}

static void close_core(KvsSink *self) {
  gint64 timeout = (gint64)props_number(&self->props, "stop-stream-timeout") * GST_SECOND;
  g_mutex_lock(&self->lock);
  guint64 sink = self->sink;
  self->sink = 0;
  g_mutex_unlock(&self->lock);
  if (sink == 0) return;
  if (g_private_get(&telling) != self) {
    self->core->sink_close(sink, timeout);
    return;
  }
  struct closing *c = g_new(struct closing, 1);
  *c = (struct closing){gst_object_ref(self), sink, timeout};
  g_thread_unref(g_thread_new("kvssink-close", close_later, c));
}

/* run notes whether the pipeline plays. Running time stands still while it is
 * paused and the wall clock goes on: they are put together anew. */
static void run(KvsSink *self, gboolean playing, gboolean stopping) {
  g_mutex_lock(&self->lock);
  self->playing = playing;
  self->paused = !playing && !stopping;
  self->stopping = stopping;
  if (!playing) self->anchored = self->flushed = FALSE;
  g_cond_broadcast(&self->changed);
  g_mutex_unlock(&self->lock);
}

static GstStateChangeReturn change_state(GstElement *element, GstStateChange transition) {
  KvsSink *self = KVS_SINK(element);
  GstStateChangeReturn result;

  switch (transition) {
    case GST_STATE_CHANGE_NULL_TO_READY:
      if (!open_core(self)) return GST_STATE_CHANGE_FAILURE;
      break;
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      self->core->sink_unblock(kvs_sink_handle(self), FALSE);
      g_mutex_lock(&self->lock);
      self->ended = 0;
      self->paused = self->playing = self->stopping = self->anchored = self->flushed = FALSE;
      GST_OBJECT_LOCK(element);
      for (GList *l = element->sinkpads; l != NULL; l = l->next) ((KvsPad *)l->data)->eos = ((KvsPad *)l->data)->flushing = FALSE;
      GST_OBJECT_UNLOCK(element);
      g_mutex_unlock(&self->lock);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_PLAYING:
      run(self, TRUE, FALSE);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      /* Whatever waits in a pad's thread must return, or the pads can't stop. */
      run(self, FALSE, TRUE);
      self->core->sink_unblock(kvs_sink_handle(self), TRUE);
      break;
    default:
      break;
  }
  result = GST_ELEMENT_CLASS(kvs_sink_parent_class)->change_state(element, transition);
  if (result == GST_STATE_CHANGE_FAILURE) {
    if (transition == GST_STATE_CHANGE_NULL_TO_READY) close_core(self);
    return result;
  }
  switch (transition) {
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      run(self, FALSE, FALSE);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      self->core->sink_flush(kvs_sink_handle(self));
      break;
    case GST_STATE_CHANGE_READY_TO_NULL:
      close_core(self);
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
  close_core(self);
  props_clear(&self->props);
  g_cond_clear(&self->changed);
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
  props_install(object, kvs_sink_props, kvs_sink_n_props);
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
  g_cond_init(&self->changed);
  props_init(&self->props, kvs_sink_props, kvs_sink_n_props);
  GST_OBJECT_FLAG_SET(self, GST_ELEMENT_FLAG_SINK);
}
