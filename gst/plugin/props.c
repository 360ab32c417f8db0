#include "props.h"

#include <string.h>

static void init_value(GValue *v, const struct prop *r) {
  switch (r->kind) {
    case PROP_STRING:
      g_value_init(v, G_TYPE_STRING);
      g_value_set_string(v, r->text);
      break;
    case PROP_UINT:
      g_value_init(v, G_TYPE_UINT);
      g_value_set_uint(v, (guint)r->value);
      break;
    case PROP_UINT64:
      g_value_init(v, G_TYPE_UINT64);
      g_value_set_uint64(v, r->value);
      break;
    case PROP_BOOL:
      g_value_init(v, G_TYPE_BOOLEAN);
      g_value_set_boolean(v, r->value != 0);
      break;
    case PROP_ENUM:
      g_value_init(v, r->type());
      g_value_set_enum(v, (gint)r->value);
      break;
    case PROP_STRUCTURE:
      g_value_init(v, GST_TYPE_STRUCTURE);
      break;
  }
}

void props_install(GObjectClass *klass, const struct prop *rows, guint n) {
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;
  for (guint i = 0; i < n; i++) {
    const struct prop *r = &rows[i];
    GParamSpec *spec = NULL;
    switch (r->kind) {
      case PROP_STRING:
        spec = g_param_spec_string(r->name, r->name, r->blurb, r->text, flags);
        break;
      case PROP_UINT:
        spec = g_param_spec_uint(r->name, r->name, r->blurb, 0, r->max ? (guint)r->max : G_MAXUINT, (guint)r->value, flags);
        break;
      case PROP_UINT64:
        spec = g_param_spec_uint64(r->name, r->name, r->blurb, 0, r->max ? r->max : G_MAXUINT64, r->value, flags);
        break;
      case PROP_BOOL:
        spec = g_param_spec_boolean(r->name, r->name, r->blurb, r->value != 0, flags);
        break;
      case PROP_ENUM:
        spec = g_param_spec_enum(r->name, r->name, r->blurb, r->type(), (gint)r->value, flags);
        break;
      case PROP_STRUCTURE:
        spec = g_param_spec_boxed(r->name, r->name, r->blurb, GST_TYPE_STRUCTURE, flags);
        break;
    }
    g_object_class_install_property(klass, i + 1, spec); /* 0 is no property id */
  }
}

void props_init(struct props *p, const struct prop *rows, guint n) {
  g_mutex_init(&p->lock);
  p->rows = rows;
  p->n = n;
  p->values = g_new0(GValue, n);
  p->given = g_new0(gboolean, n);
  for (guint i = 0; i < n; i++) init_value(&p->values[i], &rows[i]);
}

void props_clear(struct props *p) {
  for (guint i = 0; i < p->n; i++) g_value_unset(&p->values[i]);
  g_free(p->values);
  g_free(p->given);
  p->values = NULL;
  p->n = 0;
  g_mutex_clear(&p->lock);
}

void props_set(struct props *p, guint id, const GValue *v) {
  g_mutex_lock(&p->lock);
  g_value_copy(v, &p->values[id - 1]);
  p->given[id - 1] = TRUE;
  g_mutex_unlock(&p->lock);
}

void props_get(struct props *p, guint id, GValue *v) {
  g_mutex_lock(&p->lock);
  /* A secret goes in and never out: pipelines are dumped with their properties. */
  if (p->rows[id - 1].secret && g_strcmp0(g_value_get_string(&p->values[id - 1]), p->rows[id - 1].text) != 0)
    g_value_set_static_string(v, "****");
  else
    g_value_copy(&p->values[id - 1], v);
  g_mutex_unlock(&p->lock);
}

void json_string(GString *out, const char *key, const char *value) {
  if (out->len > 0 && out->str[out->len - 1] != '{') g_string_append_c(out, ',');
  for (int part = 0; part < 2; part++) {
    const char *s = part == 0 ? key : value;
    g_string_append_c(out, '"');
    for (; *s != 0; s++) {
      if (*s == '"' || *s == '\\')
        g_string_append_printf(out, "\\%c", *s);
      else if ((guchar)*s < 0x20)
        g_string_append_printf(out, "\\u%04x", *s);
      else
        g_string_append_c(out, *s);
    }
    g_string_append(out, part == 0 ? "\":" : "\"");
  }
}

static gboolean add_field(GQuark field, const GValue *v, gpointer user) {
  GValue text = G_VALUE_INIT;
  g_value_init(&text, G_TYPE_STRING);
  if (g_value_transform(v, &text) && g_value_get_string(&text) != NULL)
    json_string(user, g_quark_to_string(field), g_value_get_string(&text));
  g_value_unset(&text);
  return TRUE;
}

void json_structure(GString *out, const GstStructure *s) {
  g_string_append_c(out, '{');
  if (s != NULL) gst_structure_foreach(s, add_field, out);
  g_string_append_c(out, '}');
}

gchar *props_json(struct props *p) {
  GString *out = g_string_new("{");
  g_mutex_lock(&p->lock);
  for (guint i = 0; i < p->n; i++) {
    const GValue *v = &p->values[i];
    const struct prop *r = &p->rows[i];
    if (r->kind == PROP_STRING) {
      const char *text = g_value_get_string(v);
      if (text != NULL) json_string(out, r->name, text);
      continue;
    }
    if (out->len > 1) g_string_append_c(out, ',');
    g_string_append_printf(out, "\"%s\":", r->name);
    switch (r->kind) {
      case PROP_UINT:
        g_string_append_printf(out, "%u", g_value_get_uint(v));
        break;
      case PROP_UINT64:
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, g_value_get_uint64(v));
        break;
      case PROP_BOOL:
        g_string_append(out, g_value_get_boolean(v) ? "true" : "false");
        break;
      case PROP_ENUM:
        g_string_append_printf(out, "%d", g_value_get_enum(v));
        break;
      default:
        json_structure(out, gst_value_get_structure(v));
        break;
    }
  }
  const char *separator = "";
  g_string_append(out, ",\"given\":[");
  for (guint i = 0; i < p->n; i++) {
    if (!p->given[i]) continue;
    g_string_append_printf(out, "%s\"%s\"", separator, p->rows[i].name);
    separator = ",";
  }
  g_mutex_unlock(&p->lock);
  g_string_append(out, "]}");
  return g_string_free(out, FALSE);
}

static const GValue *find(struct props *p, const char *name) {
  for (guint i = 0; i < p->n; i++)
    if (strcmp(p->rows[i].name, name) == 0) return &p->values[i];
  g_assert_not_reached();
}

gboolean props_bool(struct props *p, const char *name) {
  g_mutex_lock(&p->lock);
  gboolean b = g_value_get_boolean(find(p, name));
  g_mutex_unlock(&p->lock);
  return b;
}

guint64 props_number(struct props *p, const char *name) {
  g_mutex_lock(&p->lock);
  const GValue *v = find(p, name);
  guint64 n = G_VALUE_HOLDS_UINT64(v) ? g_value_get_uint64(v) : G_VALUE_HOLDS_UINT(v) ? g_value_get_uint(v) : (guint64)g_value_get_enum(v);
  g_mutex_unlock(&p->lock);
  return n;
}
