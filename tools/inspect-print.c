/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/inspect-print.h"

#include <json-glib/json-glib.h>
#include <string.h>

#define MIB 1048576.
#define MAX_TEXT 1000

static const char *const states[] = { "fine", "missing", "incomplete", "unusable" };

char *
inspect_printable (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  GString *out = g_string_new (NULL);
  const char *p = valid;

  for (; *p && out->len < MAX_TEXT; p = g_utf8_next_char (p)) {
    gunichar c = g_utf8_get_char (p);

    g_string_append_unichar (out, g_unichar_isprint (c) ? c : '?');
  }
  return g_string_free (*p ? g_string_append (out, "...") : out, FALSE);
}

/* Formats @n with a unit of @units, such as "24.2 GiB" or "13 M". */
static char *
in_units (guint64 n, double base, const char *const *units)
{
  double value = n;
  guint i = 0;

  for (; value >= base && units[i + 1]; i++)
    value /= base;
  return g_strdup_printf (i && value < 100 ? "%.1f%s" : "%.0f%s", value, units[i]);
}

static char *
in_bytes (guint64 n)
{
  static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB", NULL };

  return in_units (n, 1024, units);
}

static char *
in_counts (guint64 n)
{
  static const char *const units[] = { "", " K", " M", " G", NULL };

  return in_units (n, 1000, units);
}

/* ----------------------------------------------------------------------------------------- text */

/* Returns the number of tensors of each dtype, such as "800 bfloat16, 12 float32". */
static char *
describe_dtypes (const AvatarInspectedComponent *component)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < AVATAR_N_DTYPES; i++)
    if (component->tallies[i].n) {
      g_autofree char *size = in_bytes (component->tallies[i].bytes);

      g_string_append_printf (text, "%s%u %s (%s)", text->len ? ", " : "", component->tallies[i].n,
          avatar_dtype_name (i), size);
    }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

static void
print_row (const AvatarInspectedComponent *component)
{
  g_autofree char *size = in_bytes (component->file_bytes);
  g_autofree char *parameters = in_counts (component->parameters);
  g_autofree char *dtypes = describe_dtypes (component);

  g_print ("%-20s %-10s %-21s %5u %10s %10s%s%s\n", component->name,
      component->state == AVATAR_INSPECT_MISSING && !component->needed ? "none"
                                                                       : states[component->state],
      component->format ? component->format : "-", component->n_files, size,
      component->total.n ? parameters : "-", dtypes[0] ? "  " : "", dtypes);
}

/* Prints a remark on one component, and @title before the first remark. */
static void
print_remark (const char **title, const char *name, const char *text)
{
  g_autofree char *printable = inspect_printable (text);

  if (*title)
    g_print ("%s\n", *title);
  *title = NULL;
  g_print ("  %s: %s\n", name, printable);
}

/* Returns @file relative to @folder, if it is in it. */
static const char *
inside (const char *file, const char *folder)
{
  gsize n = strlen (folder);

  return strncmp (file, folder, n) == 0 && file[n] == '/' ? file + n + 1 : file;
}

static void
print_remarks (const char *path, const AvatarInspection *self)
{
  g_autofree char *top = g_canonicalize_filename (path, NULL);
  const char *missing = "Missing or unusable", *notes = "Remarks", *extra = "Not needed",
             *places = "Files";

  for (guint i = 0; i < self->components->len; i++) {
    const AvatarInspectedComponent *component = self->components->pdata[i];

    if (component->format)
      print_remark (&places, component->name, inside (inside (component->path, path), top));
  }
  for (guint i = 0; i < self->components->len; i++) {
    const AvatarInspectedComponent *component = self->components->pdata[i];

    if (component->problem)
      print_remark (&missing, component->name, component->problem);
  }
  for (guint i = 0; i < self->components->len; i++) {
    const AvatarInspectedComponent *component = self->components->pdata[i];

    if (component->note)
      print_remark (&notes, component->name, component->note);
  }
  for (guint i = 0; i < self->components->len; i++) {
    AvatarInspectedComponent *component = self->components->pdata[i];
    g_autofree char *names = g_strjoinv ("\", \"", component->extra);
    g_autofree char *text = g_strdup_printf ("%u tensors: \"%s\"%s", component->n_extra, names,
        component->n_extra > AVATAR_INSPECT_NAMES ? ", ..." : "");

    if (component->n_extra)
      print_remark (&extra, component->name, text);
  }
}

static void
print_needs (GArray *needs)
{
  const InspectNeed *first = &g_array_index (needs, InspectNeed, 0);

  g_print (
      "GPU memory by video size: minimum budget; resident weight groups and host memory with a "
      "larger budget\n%-10s %16s",
      "size", "minimum budget");
  for (guint i = 0; i < INSPECT_BUDGETS; i++)
    g_print ("  %23.0f GiB", first->budgets[i].bytes / (1024 * MIB));
  g_print ("\n");
  for (guint k = 0; k < needs->len; k++) {
    const InspectNeed *need = &g_array_index (needs, InspectNeed, k);
    g_autofree char *size = g_strdup_printf ("%ux%u", need->width, need->height);

    /* Rounded up, so that the number is usable as a budget. */
    g_print ("%-10s %12" G_GUINT64_FORMAT " MiB", size, (need->min_bytes + (1 << 20) - 1) >> 20);
    for (guint i = 0; i < INSPECT_BUDGETS; i++) {
      const InspectBudget *b = &need->budgets[i];
      g_autofree char *host = in_bytes (b->host_bytes);
      g_autofree char *text = b->fits
          ? g_strdup_printf ("%u of %u, %s", b->resident, b->groups, host)
          : g_strdup ("too small");

      g_print ("  %27s", text);
    }
    g_print ("\n");
  }
}

void
inspect_print_text (const char *path, const AvatarInspection *self, GArray *needs)
{
  g_autofree char *printable = inspect_printable (path);

  g_print ("%s: %s\n%-20s %-10s %-21s %5s %10s %10s  %s\n", printable, self->description,
      "component", "state", "format", "files", "size", "parameters", "tensors");
  for (guint i = 0; i < self->components->len; i++)
    print_row (self->components->pdata[i]);
  if (self->n_passed_over)
    g_print ("%u more files were skipped.\n", self->n_passed_over);
  print_remarks (path, self);
  if (needs)
    print_needs (needs);
  g_print ("%s\n",
      avatar_inspection_is_usable (self) ? "Usable."
          : self->kind == AVATAR_INSPECTED_FILES
          ? "Not usable."
          : "Not usable: a needed component is missing or unusable.");
}

/* ----------------------------------------------------------------------------------------- JSON */

/* Adds a string. Bytes that are not UTF-8 are replaced, because JSON does not allow them. */
static void
put_text (JsonBuilder *b, const char *member, const char *text)
{
  g_autofree char *valid = text ? g_utf8_make_valid (text, -1) : NULL;

  json_builder_set_member_name (b, member);
  if (valid)
    json_builder_add_string_value (b, valid);
  else
    json_builder_add_null_value (b);
}

static void
put_number (JsonBuilder *b, const char *member, guint64 value)
{
  json_builder_set_member_name (b, member);
  json_builder_add_int_value (b, (gint64) MIN (value, G_MAXINT64));
}

static void
put_boolean (JsonBuilder *b, const char *member, gboolean value)
{
  json_builder_set_member_name (b, member);
  json_builder_add_boolean_value (b, value);
}

static void
put_dtypes (JsonBuilder *b, const AvatarInspectedComponent *component)
{
  json_builder_set_member_name (b, "dtypes");
  json_builder_begin_object (b);
  for (guint i = 0; i < AVATAR_N_DTYPES; i++)
    if (component->tallies[i].n) {
      json_builder_set_member_name (b, avatar_dtype_name (i));
      json_builder_begin_object (b);
      put_number (b, "tensors", component->tallies[i].n);
      put_number (b, "values", component->tallies[i].values);
      put_number (b, "bytes", component->tallies[i].bytes);
      json_builder_end_object (b);
    }
  json_builder_end_object (b);
}

static void
put_component (JsonBuilder *b, const AvatarInspectedComponent *component)
{
  json_builder_begin_object (b);
  put_text (b, "name", component->name);
  put_text (b, "state", states[component->state]);
  put_boolean (b, "needed", component->needed);
  put_text (b, "path", component->path);
  put_text (b, "format", component->format);
  put_number (b, "files", component->n_files);
  put_number (b, "file_bytes", component->file_bytes);
  put_number (b, "tensors", component->total.n);
  put_number (b, "bytes", component->total.bytes);
  put_number (b, "parameters", component->parameters);
  put_dtypes (b, component);
  put_number (b, "extra_tensors", component->n_extra);
  json_builder_set_member_name (b, "extra_names");
  json_builder_begin_array (b);
  for (guint i = 0; component->extra[i]; i++)
    json_builder_add_string_value (b, component->extra[i]);
  json_builder_end_array (b);
  put_text (b, "problem", component->problem);
  put_text (b, "note", component->note);
  json_builder_end_object (b);
}

static void
put_need (JsonBuilder *b, const InspectNeed *need)
{
  json_builder_begin_object (b);
  put_number (b, "width", need->width);
  put_number (b, "height", need->height);
  put_number (b, "min_bytes", need->min_bytes);
  json_builder_set_member_name (b, "budgets");
  json_builder_begin_array (b);
  for (guint i = 0; i < INSPECT_BUDGETS; i++) {
    json_builder_begin_object (b);
    put_number (b, "bytes", need->budgets[i].bytes);
    put_boolean (b, "fits", need->budgets[i].fits);
    put_number (b, "resident", need->budgets[i].resident);
    put_number (b, "units", need->budgets[i].groups);
    put_number (b, "host_bytes", need->budgets[i].host_bytes);
    json_builder_end_object (b);
  }
  json_builder_end_array (b);
  json_builder_end_object (b);
}

void
inspect_print_json (const char *path, const AvatarInspection *self, GArray *needs)
{
  g_autoptr (JsonBuilder) b = json_builder_new ();
  g_autoptr (JsonNode) root = NULL;
  g_autofree char *text = NULL;

  json_builder_begin_object (b);
  put_text (b, "path", path);
  put_text (b, "kind", self->id);
  put_boolean (b, "usable", avatar_inspection_is_usable (self));
  json_builder_set_member_name (b, "parts");
  json_builder_begin_array (b);
  for (guint i = 0; i < self->components->len; i++)
    put_component (b, self->components->pdata[i]);
  json_builder_end_array (b);
  put_number (b, "files_passed_over", self->n_passed_over);
  json_builder_set_member_name (b, "gpu_memory");
  json_builder_begin_array (b);
  for (guint i = 0; needs && i < needs->len; i++)
    put_need (b, &g_array_index (needs, InspectNeed, i));
  json_builder_end_array (b);
  json_builder_end_object (b);
  root = json_builder_get_root (b);
  text = json_to_string (root, TRUE);
  g_print ("%s\n", text);
}
