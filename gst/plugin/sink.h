/* What the parts of kvssink share. */
#ifndef SLUICE_SINK_H
#define SLUICE_SINK_H

#include <gst/gst.h>

#include "core.h"
#include "props.h"

GST_DEBUG_CATEGORY_EXTERN(kvs_sink_debug);
#define GST_CAT_DEFAULT kvs_sink_debug

typedef struct {
  GstElement parent;
  struct props props;
  const struct sluice_core *core;

  GMutex lock;   /* of everything below */
  GCond changed; /* paused, stopping, and flushing of the pads */
  guint64 sink;  /* 0: closed */
  gboolean anchored;
  gboolean flushed; /* running time begins anew, and the pipeline's clock goes on */
  GstClockTimeDiff anchor; /* wall clock at running time 0, ns since the epoch */
  guint pads, ended;
  gint audio, video; /* pads of each kind: at most one */
  gboolean failed;   /* the stream has ended for good */
  gboolean playing;  /* there is a clock to go by */
  gboolean paused;   /* after it was playing: data waits */
  gboolean stopping; /* to READY: nobody waits */
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
  gboolean eos;      /* these two under the element's lock */
  gboolean flushing;
} KvsPad;

typedef struct {
  GstPadClass parent;
} KvsPadClass;

#define KVS_SINK(o) ((KvsSink *)(o))

/* handle is the core's sink; 0 when there is none, which the core takes no harm
 * from. A copy may be used though the element is closed meanwhile. */
guint64 kvs_sink_handle(KvsSink *self);
/* Waits while the pipeline is paused; FALSE when the pad flushes or stops. */
gboolean kvs_sink_hold(KvsSink *self, KvsPad *pad);
GstFlowReturn kvs_sink_chain(GstPad *pad, GstObject *parent, GstBuffer *buffer);

#endif
