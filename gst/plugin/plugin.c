#include <gst/gst.h>

#include "kvssink.h"

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "0.0.0"
#endif
#define PACKAGE "sluice"

static gboolean plugin_init(GstPlugin *plugin) {
  /* The rank of the official element: who has both gets the one that is found first. */
  return gst_element_register(plugin, "kvssink", GST_RANK_PRIMARY + 10, kvs_sink_get_type()) &&
         gst_element_register(plugin, "kvssrc", GST_RANK_NONE, kvs_src_get_type());
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, kvssink, "Kinesis Video Streams: kvssink and kvssrc", plugin_init, SLUICE_VERSION, "Apache 2.0", "Sluice",
                  "https://github.com/sluicevideo/sluice")
