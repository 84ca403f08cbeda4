/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Custom queries: see the header. */
#include "gst/gstavatarquery.h"

#define NEED_QUERY "avatar-latents-needed"
#define FAILED_QUERY "avatar-stream-failed"
#define PORTIONS_QUERY "avatar-portions"

static gboolean
has_name (GstQuery *query, const gchar *name)
{
  const GstStructure *s = gst_query_get_structure (query);

  return GST_QUERY_TYPE (query) == GST_QUERY_CUSTOM && s && gst_structure_has_name (s, name);
}

GstQuery *
gst_avatar_query_new_need (void)
{
  return gst_query_new_custom (GST_QUERY_CUSTOM,
      gst_structure_new (NEED_QUERY, "latents", G_TYPE_UINT, 1, NULL));
}

gboolean
gst_avatar_query_is_need (GstQuery *query)
{
  return has_name (query, NEED_QUERY);
}

void
gst_avatar_query_set_need (GstQuery *query, guint latents)
{
  gst_structure_set (gst_query_writable_structure (query), "latents", G_TYPE_UINT, latents, NULL);
}

guint
gst_avatar_query_get_need (GstQuery *query)
{
  guint latents = 1;

  gst_structure_get_uint (gst_query_get_structure (query), "latents", &latents);
  return latents;
}

void
gst_avatar_query_set_need_window (GstQuery *query)
{
  gst_structure_set (gst_query_writable_structure (query), "window", G_TYPE_BOOLEAN, TRUE, NULL);
}

gboolean
gst_avatar_query_needs_window (GstQuery *query)
{
  gboolean window = FALSE;

  gst_structure_get_boolean (gst_query_get_structure (query), "window", &window);
  return window;
}

gboolean
gst_avatar_query_portions (GstPad *pad, GstAvatarPortions *portions)
{
  g_autoptr (GstQuery) query
      = gst_query_new_custom (GST_QUERY_CUSTOM, gst_structure_new_empty (PORTIONS_QUERY));

  return gst_pad_peer_query (pad, query)
      && gst_structure_get (gst_query_get_structure (query), "first", G_TYPE_UINT, &portions->first,
          "further", G_TYPE_UINT, &portions->further, NULL)
      && portions->first > 0 && portions->further > 0;
}

gboolean
gst_avatar_query_answer_portions (GstQuery *query, const GstAvatarPortions *portions)
{
  if (!has_name (query, PORTIONS_QUERY))
    return FALSE;
  gst_structure_set (gst_query_writable_structure (query), "first", G_TYPE_UINT, portions->first,
      "further", G_TYPE_UINT, portions->further, NULL);
  return TRUE;
}

gboolean
gst_avatar_query_upstream_failed (GstPad *sinkpad)
{
  g_autoptr (GstQuery) query
      = gst_query_new_custom (GST_QUERY_CUSTOM, gst_structure_new_empty (FAILED_QUERY));

  return gst_pad_peer_query (sinkpad, query);
}

gboolean
gst_avatar_query_answer_failed (GstQuery *query)
{
  return has_name (query, FAILED_QUERY);
}
