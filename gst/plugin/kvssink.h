#ifndef SLUICE_KVSSINK_H
#define SLUICE_KVSSINK_H

#include <gst/gst.h>

GType kvs_sink_get_type(void);
GType kvs_src_get_type(void);

/* What the fragment-ack signal points to: the layout of the official element's
 * acknowledgement, so that programs written for it go on working. */
struct kvs_fragment_ack {
  guint32 version;
  gint32 type;       /* 1 buffering, 2 received, 3 persisted, 4 error, 5 idle */
  guint64 timestamp; /* the fragment's timecode, in ticks */
  gchar number[129];
  guint32 result; /* 200, or the id of the error */
};

#endif
