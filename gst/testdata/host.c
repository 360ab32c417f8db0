/* A host program in C: host cycles | null | plays | fork | ack. */
#include <gst/gst.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VIDEO                                                                                                                    \
  "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 ! x264enc tune=zerolatency speed-preset=ultrafast " \
  "key-int-max=15 ! queue ! kvssink name=k stream-name=c"

/* The acknowledgement as programs for the official element declare it. */
typedef struct {
  guint32 version;
  gint32 ackType;
  guint64 timestamp;
  char sequenceNumber[128 + 1];
  guint32 result;
} Ack;

static gint acks;

static void on_ack(GstElement *e, gpointer data, gpointer user) {
  const Ack *a = data;
  (void)e;
  (void)user;
  printf("ack version=%u type=%d timestamp=%" G_GUINT64_FORMAT " number=%s result=%u\n", a->version, a->ackType, a->timestamp, a->sequenceNumber, a->result);
  fflush(stdout);
  g_atomic_int_inc(&acks);
}

static void status(int n) {
  char line[256];
  FILE *f = fopen("/proc/self/status", "r");
  printf("cycle %d", n);
  while (fgets(line, sizeof line, f) != NULL) {
    long v;
    if (sscanf(line, "VmRSS: %ld", &v) == 1) printf(" rss=%ld", v);
    if (sscanf(line, "Threads: %ld", &v) == 1) printf(" threads=%ld", v);
  }
  printf("\n");
  fclose(f);
}

static GstElement *launch(const char *text) {
  GError *error = NULL;
  GstElement *p = gst_parse_launch(text, &error);
  if (p == NULL || error != NULL) g_error("%s", error->message);
  return p;
}

static GstElement *make(void) { return launch(VIDEO); }

/* ended waits for EOS; FALSE for an error. */
static gboolean ended(GstElement *p) {
  GstBus *bus = gst_element_get_bus(p);
  GstMessage *m = gst_bus_timed_pop_filtered(bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  gboolean eos = GST_MESSAGE_TYPE(m) == GST_MESSAGE_EOS;
  gst_message_unref(m);
  gst_object_unref(bus);
  return eos;
}

static void stop(GstElement *p) {
  gst_element_set_state(p, GST_STATE_NULL);
  gst_object_unref(p);
}

/* plays sends sound to its end, pauses on the way, and reads it back, twice; then
 * it stops in the middle. No encoder: it is for tools that look at every access. */
static int plays(void) {
  for (int i = 0; i < 3; i++) {
    GstElement *p = launch(
        "audiotestsrc is-live=true name=a samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! alawenc ! "
        "kvssink name=k stream-name=plays stream-tags=\"stream-tags,a=b\" get-kvs-metrics=true stop-stream-timeout=240");
    GstElement *k = gst_bin_get_by_name(GST_BIN(p), "k");
    acks = 0;
    g_signal_connect(k, "fragment-ack", G_CALLBACK(on_ack), NULL);
    gst_element_set_state(p, GST_STATE_PLAYING);
    while (g_atomic_int_get(&acks) < 3) g_usleep(20000);
    gst_element_send_event(k, gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new("kvs-add-metadata", "name", G_TYPE_STRING, "n", "value", G_TYPE_STRING, "v", NULL)));
    gst_element_send_event(k, gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty("kvs-add-notification")));
    gst_object_unref(k);
    gst_element_set_state(p, GST_STATE_PAUSED);
    g_usleep(50000);
    gst_element_set_state(p, GST_STATE_PLAYING);
    if (i < 2) {
      gst_element_send_event(p, gst_event_new_eos());
      if (!ended(p)) return 1;
    }
    stop(p);
    if (i == 2) break;
    p = launch("kvssrc stream-name=plays start-at=earliest stop-at=now ! alawdec ! fakesink");
    gst_element_set_state(p, GST_STATE_PLAYING);
    if (!ended(p)) return 1;
    gst_element_seek_simple(p, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0);
    if (!ended(p)) return 1;
    stop(p);
  }
  printf("played\n");
  return 0;
}

int main(int argc, char **argv) {
  gst_init(&argc, &argv);
  if (strcmp(argv[1], "cycles") == 0) {
    for (int i = 0; i < 30; i++) {
      GstElement *p = make();
      gst_element_set_state(p, GST_STATE_PLAYING);
      if (i % 3 == 0) g_usleep(200000);
      stop(p);
      if (i == 9 || i == 29) status(i);
    }
    return 0;
  }
  if (strcmp(argv[1], "null") == 0) { /* the thin plugin alone: never in READY */
    for (int i = 0; i < 10; i++) {
      GstElement *p = make();
      GstElement *k = gst_bin_get_by_name(GST_BIN(p), "k");
      g_object_set(k, "stream-name", "x", "storage-size", 512, NULL);
      gst_util_set_object_arg(G_OBJECT(k), "stream-tags", "stream-tags,a=b");
      gst_element_send_event(k, gst_event_new_custom(GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty("kvs-add-notification")));
      gst_object_unref(k);
      stop(p);
    }
    gst_deinit();
    return 0;
  }
  if (strcmp(argv[1], "plays") == 0) {
    int result = plays();
    gst_deinit();
    return result;
  }
  GstElement *p = make();
  if (strcmp(argv[1], "fork") == 0) {
    pid_t child = fork();
    int result = 0;
    if (child != 0) {
      waitpid(child, &result, 0);
      return WIFEXITED(result) ? WEXITSTATUS(result) : 1;
    }
  }
  GstElement *k = gst_bin_get_by_name(GST_BIN(p), "k");
  g_signal_connect(k, "fragment-ack", G_CALLBACK(on_ack), NULL);
  gst_object_unref(k);
  gst_element_set_state(p, GST_STATE_PLAYING);
  for (int i = 0; i < 2400 && g_atomic_int_get(&acks) < 6; i++) g_usleep(100000);
  stop(p);
  return g_atomic_int_get(&acks) < 6;
}
