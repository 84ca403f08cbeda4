/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking for an engine and telling of one: see the header. */
#include "gst/gstavatarcontext.h"

static gboolean
query_pad (GstElement *element, GstPad *pad, gpointer data)
{
  GstQuery *query = data;

  /* the first answer does */
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
