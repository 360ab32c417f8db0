/* A host program in C: host cycles | ack | fork. */
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

static GstElement *make(void) { return gst_parse_launch(VIDEO, NULL); }

static void stop(GstElement *p) {
  gst_element_set_state(p, GST_STATE_NULL);
  gst_object_unref(p);
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
    return 0;
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
  for (int i = 0; i < 400 && g_atomic_int_get(&acks) < 6; i++) g_usleep(100000);
  stop(p);
  return g_atomic_int_get(&acks) < 6;
}
