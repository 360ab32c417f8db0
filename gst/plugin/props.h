/* Properties by table: a row each, with name, type, range and default, as the
 * references have them. Values live in an array of GValues under a lock. */
#ifndef SLUICE_PROPS_H
#define SLUICE_PROPS_H

#include <gst/gst.h>

enum prop_kind { PROP_STRING, PROP_UINT, PROP_UINT64, PROP_BOOL, PROP_ENUM, PROP_STRUCTURE };

struct prop {
  const char *name;
  enum prop_kind kind;
  const char *text;        /* default of a string */
  guint64 value;           /* default of everything else */
  guint64 max;             /* largest number; 0: as large as the type */
  GType (*type)(void);     /* of an enum */
  const char *blurb;
  gboolean secret;         /* shown as **** when read back */
};

extern const struct prop kvs_sink_props[]; /* of kvssink */
extern const guint kvs_sink_n_props;

struct props {
  GMutex lock;
  const struct prop *rows;
  guint n;
  GValue *values;
  gboolean *given; /* somebody set it, if only to its default */
};

void props_install(GObjectClass *klass, const struct prop *rows, guint n);
void props_init(struct props *p, const struct prop *rows, guint n);
void props_clear(struct props *p);
void props_set(struct props *p, guint id, const GValue *v);
void props_get(struct props *p, guint id, GValue *v);

/* All values as a JSON object; structures become objects of strings. "given" lists
 * the names of what somebody set. Freed with g_free. */
gchar *props_json(struct props *p);
gboolean props_bool(struct props *p, const char *name);
guint64 props_number(struct props *p, const char *name);

/* Appends "key":"value" with JSON's escapes. */
void json_string(GString *out, const char *key, const char *value);
void json_structure(GString *out, const GstStructure *s);

#endif
