/* A core without Go or network, for tools that look at every access of the plugin:
 * it takes frames and tells of acknowledgements, and gives frames of sound. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../plugin/core.h"

static struct handle {
  int used, unblocked, at;
  sluice_event_fn fn;
  void *user;
} handles[256];
static uint64_t last;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int sluice_version(void) { return SLUICE_CORE_VERSION; }
void sluice_free(void *p) { free(p); }

static uint64_t open_handle(const char *config, sluice_event_fn fn, void *user, char **error) {
  uint64_t h = 0;
  pthread_mutex_lock(&lock);
  if (strstr(config, "\"stream-name\":\"refused\"") != NULL || last + 1 == sizeof handles / sizeof *handles) {
    *error = strdup("refused");
  } else {
    h = ++last;
    handles[h] = (struct handle){1, 0, 0, fn, user};
  }
  pthread_mutex_unlock(&lock);
  return h;
}

static void close_handle(uint64_t h) {
  pthread_mutex_lock(&lock);
  handles[h].used = 0;
  pthread_mutex_unlock(&lock);
}

static void unblock(uint64_t h, int on) {
  pthread_mutex_lock(&lock);
  handles[h].unblocked = on;
  pthread_mutex_unlock(&lock);
}

/* step counts a frame of a handle; -1 when it is closed or unblocked. */
static int step(uint64_t h) {
  int n;
  pthread_mutex_lock(&lock);
  n = !handles[h].used || handles[h].unblocked ? -1 : handles[h].at++;
  pthread_mutex_unlock(&lock);
  return n;
}

uint64_t sluice_sink_open(const char *config, sluice_event_fn fn, void *user, char **error) { return open_handle(config, fn, user, error); }
void sluice_sink_pads(uint64_t h, int video, int audio) { (void)h, (void)video, (void)audio; }
int sluice_sink_track(uint64_t h, int track, const char *caps, const void *data, size_t n, char **error) {
  (void)track, (void)data, (void)n, (void)error;
  return handles[h].used && strlen(caps) > 0 ? SLUICE_FLOW_OK : SLUICE_FLOW_FLUSHING;
}

int sluice_sink_put(uint64_t h, int track, const void *data, size_t size, int64_t pts, int64_t dts, int64_t duration, uint32_t flags) {
  unsigned sum = (unsigned)(track + pts + dts + duration + flags); /* all of it is looked at */
  for (size_t i = 0; i < size; i++) sum += ((const unsigned char *)data)[i];
  int n = step(h);
  if (n < 0) return SLUICE_FLOW_FLUSHING;
  if (n % 5 == 0 || sum == 0) {
    handles[h].fn(handles[h].user, SLUICE_EVENT_ACK, "kvs-ack, type=(int)3, timecode=(guint64)1, error=(uint)0, number=(string)\"1\";");
    handles[h].fn(handles[h].user, SLUICE_EVENT_MESSAGE, "kvs-stale, since=(gint64)1;");
    handles[h].fn(handles[h].user, SLUICE_EVENT_METRICS, "kvs-metrics, frame-pts=(gint64)1;");
    handles[h].fn(handles[h].user, SLUICE_EVENT_ERROR, "kvs-error, status=(uint)1, message=(string)\"it passes\", final=(boolean)false;");
    handles[h].fn(handles[h].user, SLUICE_EVENT_MESSAGE, "no structure");
  }
  return SLUICE_FLOW_OK;
}

int sluice_sink_metadata(uint64_t h, const char *name, const char *value, int persist) { return h == 0 || !*name || !value || persist ? SLUICE_FLOW_ERROR : SLUICE_FLOW_OK; }
int sluice_sink_marker(uint64_t h, int kinds, const char *prefix, const char *pairs) { return h == 0 || kinds == 0 || (prefix && !*prefix) || !pairs ? SLUICE_FLOW_ERROR : SLUICE_FLOW_OK; }
int sluice_sink_drain(uint64_t h, int64_t timeout) { return h != 0 && timeout > 0; }
void sluice_sink_flush(uint64_t h) { (void)h; }
void sluice_sink_unblock(uint64_t h, int on) { unblock(h, on); }
void sluice_sink_close(uint64_t h, int64_t timeout) { (void)timeout, close_handle(h); }

uint64_t sluice_source_open(const char *config, sluice_event_fn fn, void *user, char **error) { return open_handle(config, fn, user, error); }
int sluice_source_next(uint64_t h, struct sluice_frame *f) {
  int n = step(h);
  if (n < 0) return SLUICE_FLOW_FLUSHING;
  if (n >= 40) return SLUICE_FLOW_EOS;
  *f = (struct sluice_frame){.data = calloc(1, 160), .size = 160, .pts = 1000000000000 + n * 20000000LL, .dts = -1, .duration = 20000000, .flags = SLUICE_FRAME_KEY, .track = 2, .tracks = 2};
  if (n == 0) {
    f->caps = strdup("audio/x-alaw, rate=(int)8000, channels=(int)1");
    f->codec_data = calloc(1, 18);
    f->codec_data_size = 18;
  }
  return SLUICE_FLOW_OK;
}
void sluice_source_unblock(uint64_t h, int on) { unblock(h, on); }
int sluice_source_seek(uint64_t h, int64_t time) {
  (void)time;
  pthread_mutex_lock(&lock);
  handles[h].at = 0;
  pthread_mutex_unlock(&lock);
  return SLUICE_FLOW_OK;
}
void sluice_source_close(uint64_t h) { close_handle(h); }
