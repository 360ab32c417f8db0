/* The data path of kvssink: running time to wall clock, and buffers to the core. */
#include "kvssink.h"
#include "sink.h"

guint64 kvs_sink_handle(KvsSink *self) {
  g_mutex_lock(&self->lock);
  guint64 sink = self->sink;
  g_mutex_unlock(&self->lock);
  return sink;
}

/* ---- time ---- */

/* anchor_now gives the wall clock at running time 0, once a run: from the
 * pipeline's clock when it runs, so that live frames get the time they were
 * taken at; else so that the frame at hand is of now. */
static GstClockTimeDiff anchor_now(KvsSink *self, GstClockTimeDiff running) {
  GstClockTimeDiff now = g_get_real_time() * GST_USECOND, at = running;
  GstClock *clock = gst_element_get_clock(GST_ELEMENT(self));
  if (clock != NULL && self->playing && !self->flushed) {
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

/* hold keeps a pad's thread while the pipeline is paused. Before the first PLAYING
 * it does not: there is no preroll to wait for, and another branch of a tee may be
 * behind this one. */
gboolean kvs_sink_hold(KvsSink *self, KvsPad *pad) {
  gboolean go_on;
  g_mutex_lock(&self->lock);
  while (self->paused && !self->stopping && !pad->flushing) g_cond_wait(&self->changed, &self->lock);
  go_on = !self->stopping && !pad->flushing;
  g_mutex_unlock(&self->lock);
  return go_on;
}

GstFlowReturn kvs_sink_chain(GstPad *gstpad, GstObject *parent, GstBuffer *buffer) {
  KvsSink *self = KVS_SINK(parent);
  KvsPad *pad = (KvsPad *)gstpad;
  GstMapInfo map;
  gint64 pts, dts, swap;
  guint32 flags = 0;
  int flow;
  gboolean failed;

  if (!kvs_sink_hold(self, pad)) {
    gst_buffer_unref(buffer);
    return GST_FLOW_FLUSHING;
  }
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
  /* All pads are unblocked together; one that does not flush goes on waiting. */
  do {
    flow = self->core->sink_put(kvs_sink_handle(self), pad->track, map.data, map.size, pts, dts,
                                GST_BUFFER_DURATION_IS_VALID(buffer) ? (gint64)GST_BUFFER_DURATION(buffer) : -1, flags);
    if (flow == SLUICE_FLOW_FLUSHING) g_usleep(1000);
  } while (flow == SLUICE_FLOW_FLUSHING && kvs_sink_hold(self, pad));
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
