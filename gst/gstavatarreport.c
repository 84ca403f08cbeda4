/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bus messages of the elements: see the header and docs/guide/properties.md. */
#include "gst/gstavatarreport.h"

#define DEPRECATED_WINDOW_MESSAGE "avatar-chunk"

typedef struct
{
  gint avatar_code;
  GQuark (*domain) (void);
  gint code;
} ErrorMap;

/* A truncated model cannot be read; tensors of another shape are of the wrong type. */
static const ErrorMap error_map[] = {
  { AVATAR_ERROR_NOT_FOUND, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND },
  { AVATAR_ERROR_READ, gst_resource_error_quark, GST_RESOURCE_ERROR_OPEN_READ },
  { AVATAR_ERROR_FORMAT, gst_resource_error_quark, GST_RESOURCE_ERROR_READ },
  { AVATAR_ERROR_MISMATCH, gst_stream_error_quark, GST_STREAM_ERROR_WRONG_TYPE },
  { AVATAR_ERROR_SETTINGS, gst_resource_error_quark, GST_RESOURCE_ERROR_SETTINGS },
  { AVATAR_ERROR_MEMORY, gst_resource_error_quark, GST_RESOURCE_ERROR_NO_SPACE_LEFT },
  { AVATAR_ERROR_DEVICE, gst_resource_error_quark, GST_RESOURCE_ERROR_FAILED },
  { AVATAR_ERROR_DATA, gst_stream_error_quark, GST_STREAM_ERROR_DECODE },
};

/* Posts @error and frees it. */
static void
report (GstElement *element, GstMessageType type, GError *error, const gchar *file,
    const gchar *function, gint line)
{
  GQuark domain = GST_STREAM_ERROR;
  gint code = GST_STREAM_ERROR_FAILED;
  gchar *text = g_strdup (
      error ? error->message : "failed for an unknown reason; see the log (GST_DEBUG=avatar*:5)");
  gchar *debug
      = error ? g_strdup_printf ("%s %d", g_quark_to_string (error->domain), error->code) : NULL;

  for (guint i = 0; error && error->domain == AVATAR_ERROR && i < G_N_ELEMENTS (error_map); i++) {
    if (error_map[i].avatar_code == error->code) {
      domain = error_map[i].domain ();
      code = error_map[i].code;
    }
  }
  gst_element_message_full (element, type, domain, code, text, debug, file, function, line);
  g_clear_error (&error);
}

void
gst_avatar_report_error_full (GstElement *element, GError *error, const gchar *file,
    const gchar *function, gint line)
{
  report (element, GST_MESSAGE_ERROR, error, file, function, line);
}

void
gst_avatar_report_warning_full (GstElement *element, GError *error, const gchar *file,
    const gchar *function, gint line)
{
  report (element, GST_MESSAGE_WARNING, error, file, function, line);
}

void
gst_avatar_report_too_late (GstElement *element, const gchar *property)
{
  GST_ELEMENT_WARNING (element, RESOURCE, SETTINGS,
      ("%s was set while playing and takes effect when the element is started again: set it in state "
       "NULL or READY",
          property),
      (NULL));
}

GstFlowReturn
gst_avatar_report_failure_full (GstElement *element, GError *error, gboolean *failed,
    const gchar *file, const gchar *function, gint line)
{
  if (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED)) {
    g_error_free (error);
    return GST_FLOW_FLUSHING;
  }
  if (*failed)
    g_error_free (error);
  else
    gst_avatar_report_error_full (element, error, file, function, line);
  *failed = TRUE;
  return GST_FLOW_ERROR;
}

void
gst_avatar_report_progress (GstElement *element, GstProgressType type, const gchar *code,
    gint percent, const gchar *text)
{
  GstMessage *message = gst_message_new_progress (GST_OBJECT (element), type, code, text);

  if (percent >= 0)
    gst_structure_set (gst_message_writable_structure (message), "percent", G_TYPE_INT, percent,
        NULL);
  gst_element_post_message (element, message);
}

static void
set_memory (GstStructure *structure, AvatarDevice *device)
{
  AvatarMemory memory;

  avatar_device_get_memory (device, &memory);
  gst_structure_set (structure, "memory-now", G_TYPE_UINT64, memory.now, "memory-peak",
      G_TYPE_UINT64, memory.peak, "budget", G_TYPE_UINT64, memory.budget, NULL);
}

void
gst_avatar_report_memory (GstStructure *structure, AvatarDevice *device)
{
  GValue members = G_VALUE_INIT;
  guint n = avatar_device_get_n_members (device);

  set_memory (structure, device);
  if (n == 1)
    return;
  gst_value_array_init (&members, n);
  for (guint i = 0; i < n; i++) {
    AvatarDevice *member = avatar_device_get_member (device, i);
    GstStructure *one = gst_structure_new ("member", "device", G_TYPE_STRING,
        avatar_device_get_name (member), NULL);
    GValue value = G_VALUE_INIT;

    set_memory (one, member);
    g_value_init (&value, GST_TYPE_STRUCTURE);
    g_value_take_boxed (&value, one);
    gst_value_array_append_and_take_value (&members, &value);
  }
  gst_structure_take_value (structure, "members", &members);
}

/* Numbers of weight groups, and their deprecated names. */
static void
set_weights (GstStructure *structure, const GstAvatarWindow *window)
{
  const struct
  {
    const gchar *name, *deprecated;
    guint n;
  } fields[] = {
    { "resident-groups", "resident-units", window->resident },
    { "streamed-groups", "streamed-units", window->streamed },
    { "evicted-groups", "given-up-units", window->evicted },
    { "restored-groups", "taken-back-units", window->restored },
  };

  for (guint i = 0; i < G_N_ELEMENTS (fields); i++)
    gst_structure_set (structure, fields[i].name, G_TYPE_UINT, fields[i].n, fields[i].deprecated,
        G_TYPE_UINT, fields[i].n, NULL);
  gst_structure_set (structure, "uploaded-bytes", G_TYPE_UINT64, window->uploaded, NULL);
}

static void
post (GstElement *element, const GstStructure *structure, const gchar *name)
{
  GstStructure *copy = gst_structure_copy (structure);

  gst_structure_set_name (copy, name);
  gst_element_post_message (element, gst_message_new_element (GST_OBJECT (element), copy));
}

GstStructure *
gst_avatar_report_window (GstElement *element, AvatarDevice *device, const GstAvatarWindow *window)
{
  GstStructure *structure;
  gdouble speed = 0.0;

  if (window->compute_time > 0)
    speed = (gdouble) window->duration / (gdouble) window->compute_time;
  structure = gst_structure_new (GST_AVATAR_WINDOW_MESSAGE, "stage", G_TYPE_STRING, window->stage,
      "index", G_TYPE_UINT, window->index, "frames", G_TYPE_UINT, window->frames, "timestamp",
      GST_TYPE_CLOCK_TIME, window->timestamp, "duration", GST_TYPE_CLOCK_TIME, window->duration,
      "compute-time", GST_TYPE_CLOCK_TIME, window->compute_time, "speed", G_TYPE_DOUBLE, speed,
      "computed-on", G_TYPE_STRING, avatar_device_get_name (window->computed_on), "bad-samples",
      G_TYPE_UINT64, window->bad_samples, NULL);
  gst_avatar_report_memory (structure, device);
  if (window->steps > 0)
    gst_structure_set (structure, "steps", G_TYPE_UINT, window->steps, NULL);
  if (window->resident + window->streamed > 0)
    set_weights (structure, window);
  post (element, structure, GST_AVATAR_WINDOW_MESSAGE);
  post (element, structure, DEPRECATED_WINDOW_MESSAGE);
  return structure;
}

void
gst_avatar_report_truncation (GstElement *element, const gchar *property,
    const AvatarPromptTruncation *cut)
{
  gboolean warn = cut->language > 0;
  gchar *text;

  if (!warn && !cut->clip)
    return;
  text = warn
      ? g_strdup_printf ("the %s is too long: its last %u tokens are ignored; make it shorter",
          property, cut->language)
      : g_strdup_printf ("the last %u tokens of the %s are used by LLaVA, but not by CLIP",
          cut->clip, property);
  gst_element_message_full_with_details (element, warn ? GST_MESSAGE_WARNING : GST_MESSAGE_INFO,
      GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, text, NULL, __FILE__, GST_FUNCTION, __LINE__,
      gst_structure_new ("avatar-prompt", "property", G_TYPE_STRING, property, "dropped",
          G_TYPE_UINT, cut->language, "dropped-clip", G_TYPE_UINT, cut->clip, NULL));
}

void
gst_avatar_report_face (GstElement *element, const gchar *source, const AvatarFaceBox *box,
    guint width, guint height)
{
  GstStructure *structure = gst_structure_new ("avatar-face", "source", G_TYPE_STRING, source, "x",
      G_TYPE_DOUBLE, box->x, "y", G_TYPE_DOUBLE, box->y, "width", G_TYPE_DOUBLE, box->width,
      "height", G_TYPE_DOUBLE, box->height, "picture-width", G_TYPE_UINT, width, "picture-height",
      G_TYPE_UINT, height, NULL);

  gst_element_post_message (element, gst_message_new_element (GST_OBJECT (element), structure));
}
