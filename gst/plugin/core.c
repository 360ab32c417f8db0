#define _GNU_SOURCE
#include "core.h"

#include <dlfcn.h>
#include <glib.h>
#include <limits.h>
#include <string.h>

#define CORE "libsluicekvs.so.1"

static struct sluice_core core;
static gchar *failure; /* why loading failed, for everybody who asks later */

static void *symbol(void *lib, const char *name) {
  void *p = dlsym(lib, name);
  if (p == NULL && failure == NULL) failure = g_strdup_printf("%s has no %s: it is of another version", CORE, name);
  return p;
}

static gpointer load(gpointer unused) {
  Dl_info me;
  gchar *path = NULL;
  void *lib;
  (void)unused;

  /* Beside the plugin: no search path is needed, and no other copy is found. */
  if (dladdr((void *)sluice_core_load, &me) != 0 && me.dli_fname != NULL) {
    gchar *dir = g_path_get_dirname(me.dli_fname);
    path = g_build_filename(dir, CORE, NULL);
    g_free(dir);
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
      g_free(path);
      path = NULL;
    }
  }
  /* A Go runtime can't be unloaded. */
  lib = dlopen(path != NULL ? path : CORE, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  g_free(path);
  if (lib == NULL) {
    failure = g_strdup_printf("the core of the plugin does not load: %s", dlerror());
    return NULL;
  }
#define GET(field) *(void **)(&core.field) = symbol(lib, "sluice_" #field)
  GET(version);
  GET(free);
  GET(sink_open);
  GET(sink_pads);
  GET(sink_track);
  GET(sink_put);
  GET(sink_metadata);
  GET(sink_marker);
  GET(sink_drain);
  GET(sink_flush);
  GET(sink_unblock);
  GET(sink_close);
  GET(source_open);
  GET(source_next);
  GET(source_unblock);
  GET(source_seek);
  GET(source_close);
#undef GET
  if (failure == NULL && core.version() != SLUICE_CORE_VERSION)
    failure = g_strdup_printf("%s has version %d, the plugin wants %d", CORE, core.version(), SLUICE_CORE_VERSION);
  return NULL;
}

const struct sluice_core *sluice_core_load(char **error) {
  static GOnce once = G_ONCE_INIT;
  g_once(&once, load, NULL);
  if (failure != NULL) {
    *error = g_strdup(failure);
    return NULL;
  }
  return &core;
}
