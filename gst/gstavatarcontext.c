/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queries and messages that carry an engine: see the header. */
#include "gst/gstavatarcontext.h"

static gboolean
query_pad (GstElement *element, GstPad *pad, gpointer data)
{
  GstQuery *query = data;

  /* stops at the first answer */
  return !gst_pad_peer_query (pad, query);
}

void
gst_avatar_context_query (GstElement *element, GstPadDirection direction)
{
  g_autoptr (GstQuery) query = gst_query_new_context (GST_AVATAR_ENGINE_CONTEXT);
  GstContext *context = NULL;

  if (direction == GST_PAD_SRC)
    gst_element_foreach_src_pad (element, query_pad, query);
  else
    gst_element_foreach_sink_pad (element, query_pad, query);
  gst_query_parse_context (query, &context);
  if (context)
    gst_element_set_context (element, context);
}

void
gst_avatar_context_need (GstElement *element)
{
  gst_element_post_message (element,
      gst_message_new_need_context (GST_OBJECT (element), GST_AVATAR_ENGINE_CONTEXT));
}

static void
context_to_string (const GValue *value, GValue *text)
{
  GstContext *context = g_value_get_boxed (value);

  if (context)
    g_value_take_string (text, gst_structure_to_string (gst_context_get_structure (context)));
}

/* Without this function GStreamer 1.22 warns about every HAVE_CONTEXT message that is printed. */
static void
make_printable (void)
{
  static gsize done;

  if (!g_once_init_enter (&done))
    return;
  if (!g_value_type_transformable (GST_TYPE_CONTEXT, G_TYPE_STRING))
    g_value_register_transform_func (GST_TYPE_CONTEXT, G_TYPE_STRING, context_to_string);
  g_once_init_leave (&done, 1);
}

GstContext *
gst_avatar_context_new (GstAvatarEngine *engine, const gchar *model, const gchar *device)
{
  GstContext *context = gst_context_new (GST_AVATAR_ENGINE_CONTEXT, TRUE);
  GstStructure *s = gst_context_writable_structure (context);

  gst_structure_set (s, "engine", GST_TYPE_AVATAR_ENGINE, engine, NULL);
  if (model)
    gst_structure_set (s, "model", G_TYPE_STRING, model, NULL);
  if (device)
    gst_structure_set (s, "device", G_TYPE_STRING, device, NULL);
  return context;
}

void
gst_avatar_context_have (GstElement *element, GstContext *context)
{
  make_printable ();
  gst_element_set_context (element, context);
  gst_element_post_message (element,
      gst_message_new_have_context (GST_OBJECT (element), gst_context_ref (context)));
}

gboolean
gst_avatar_context_is_query (GstQuery *query)
{
  const gchar *type = NULL;

  return GST_QUERY_TYPE (query) == GST_QUERY_CONTEXT && gst_query_parse_context_type (query, &type)
      && g_strcmp0 (type, GST_AVATAR_ENGINE_CONTEXT) == 0;
}
