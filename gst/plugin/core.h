/* The line between the thin plugin and the core written in Go.
 *
 * The plugin is loaded into every program that scans its plugins; the core is a
 * Go shared library, loaded by the plugin when an element first goes to READY
 * and never unloaded. A program may fork before that and not after: a Go runtime
 * does not survive a fork without exec.
 *
 * Text is UTF-8; what a function puts into *error is freed with sluice_free.
 * Data is copied before a function returns. Handles are never 0 and never given
 * twice: a call with one that was closed does nothing and returns
 * SLUICE_FLOW_FLUSHING, or 0. */
#ifndef SLUICE_CORE_H
#define SLUICE_CORE_H

#include <stddef.h>
#include <stdint.h>

#define SLUICE_CORE_VERSION 1

/* What the core tells, from threads of its own, until the handle is closed: then
 * no call is under way any more, which is why a handle must not be closed on the
 * thread of such a call. kind is one of sluice_event; text is a serialised GstStructure. */
typedef void (*sluice_event_fn)(void *user, int kind, const char *text);

enum sluice_event {
  SLUICE_EVENT_ACK = 1, /* kvs-ack: type (int), timecode (guint64), number (string), error (uint) */
  SLUICE_EVENT_ERROR,   /* kvs-error: status (uint), message (string), final (boolean) */
  SLUICE_EVENT_MESSAGE, /* goes onto the bus as it is */
  SLUICE_EVENT_METRICS, /* kvs-metrics: a field each */
};

enum sluice_flow {
  SLUICE_FLOW_OK = 0,
  SLUICE_FLOW_ERROR = -1,   /* the stream has ended; an error was told */
  SLUICE_FLOW_FLUSHING = -2,/* unblocked */
  SLUICE_FLOW_EOS = -3,     /* source: the range is at its end */
};

enum sluice_frame_flags {
  SLUICE_FRAME_KEY = 1,
  SLUICE_FRAME_DISCARDABLE = 2,
  SLUICE_FRAME_DISCONT = 4,
};

/* One frame out of a source. data and caps are freed with sluice_free. */
struct sluice_frame {
  void *data;
  size_t size;
  int64_t pts, dts, duration; /* ns since the epoch; dts and duration -1: not known */
  uint32_t flags;
  int32_t track;
  char *caps;          /* not NULL: the track's caps from this frame on, without codec data */
  void *codec_data;    /* with caps */
  size_t codec_data_size;
  uint32_t tracks;     /* of the stream at this frame: 1 video, 2 audio, 3 both */
};

struct sluice_core {
  int (*version)(void);
  void (*free)(void *);

  uint64_t (*sink_open)(const char *config, sluice_event_fn fn, void *user, char **error);
  /* Which pads there are: frames wait a moment until all of them have caps. */
  void (*sink_pads)(uint64_t sink, int video, int audio);
  /* Adds or changes a track: {"type","codec","width","height","rate","channels","stream-format"}. */
  int (*sink_track)(uint64_t sink, int track, const char *caps, const void *codec_data, size_t n, char **error);
  /* Times are ns since the epoch; -1: not known. Never waits for the network,
   * but in the offline streaming type for room. */
  int (*sink_put)(uint64_t sink, int track, const void *data, size_t n, int64_t pts, int64_t dts, int64_t duration, uint32_t flags);
  int (*sink_metadata)(uint64_t sink, const char *name, const char *value, int persist);
  /* kinds: 1 image generation, 2 notification; prefix and pairs may be NULL. */
  int (*sink_marker)(uint64_t sink, int kinds, const char *prefix, const char *pairs);
  /* Ends the fragment and waits until all is persisted: 1 when it is, 0 when
   * the time ran out or it was unblocked. */
  int (*sink_drain)(uint64_t sink, int64_t timeout);
  void (*sink_flush)(uint64_t sink);    /* ends the open fragment: the timeline breaks here */
  void (*sink_unblock)(uint64_t sink, int on);
  /* Ends the stream. Events stop before it returns; what can't be sent in a moment
   * goes on in the background until the timeout. */
  void (*sink_close)(uint64_t sink, int64_t timeout);

  uint64_t (*source_open)(const char *config, sluice_event_fn fn, void *user, char **error);
  /* Waits for the next frame; returns a sluice_flow. */
  int (*source_next)(uint64_t source, struct sluice_frame *frame);
  void (*source_unblock)(uint64_t source, int on);
  /* Goes on at a producer time, in ns since the epoch; -1: at the live edge;
   * -2: where start-at says, as when it was opened. */
  int (*source_seek)(uint64_t source, int64_t time);
  void (*source_close)(uint64_t source);
};

/* Loads the core from beside the plugin; NULL and a text in *error when that
 * fails. The same one each time. */
const struct sluice_core *sluice_core_load(char **error);

#endif
