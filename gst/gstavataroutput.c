/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools of output buffers, and their time stamps: see the header. */
#include "gst/gstavataroutput.h"

#include <avatar/error.h>
#include <gst/video/video.h>

typedef struct
{
  GstCaps *caps;
  gsize size;
  guint min;
  gboolean is_video, has_video_meta;
} Config;

static gboolean
activate (GstBufferPool *pool, const Config *c, gsize size)
{
  GstStructure *config = gst_buffer_pool_get_config (pool);

  gst_buffer_pool_config_set_params (config, c->caps, size, c->min, 0);
  if (c->has_video_meta)
    gst_buffer_pool_config_add_option (config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  return gst_buffer_pool_set_config (pool, config) && gst_buffer_pool_set_active (pool, TRUE);
}

/* Buffers of a tensor have its exact size; those of a video may be padded. */
static GstBufferPool *
take_peer_pool (GstQuery *query, Config *c)
{
  g_autoptr (GstBufferPool) pool = NULL;
  guint size, max;

  if (gst_query_get_n_allocation_pools (query) == 0)
    return NULL;
  gst_query_parse_nth_allocation_pool (query, 0, &pool, &size, &c->min, &max);
  if (!pool || max > 0 || (!c->is_video && size != c->size))
    return NULL;
  return activate (pool, c, MAX (size, c->size)) ? g_steal_pointer (&pool) : NULL;
}

GstBufferPool *
gst_avatar_output_pool_new (GstQuery *query, gsize size)
{
  Config c = { .size = size };
  GstBufferPool *pool;

  gst_query_parse_allocation (query, &c.caps, NULL);
  c.is_video = gst_structure_has_name (gst_caps_get_structure (c.caps, 0), "video/x-raw");
  c.has_video_meta
      = c.is_video && gst_query_find_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL);
  pool = take_peer_pool (query, &c);
  if (pool)
    return pool;
  pool = c.is_video ? gst_video_buffer_pool_new () : gst_buffer_pool_new ();
  activate (pool, &c, size);
  return pool;
}

GstBufferPool *
gst_avatar_output_pool_negotiate (GstPad *pad, GstCaps *caps, gsize size)
{
  g_autoptr (GstQuery) query = gst_query_new_allocation (caps, TRUE);

  if (!gst_pad_peer_query (pad, query))
    GST_DEBUG_OBJECT (pad, "downstream does not answer the ALLOCATION query");
  return gst_avatar_output_pool_new (query, size);
}

gboolean
gst_avatar_output_map (GstBuffer *buffer, GstMapInfo *map, GError **error)
{
  if (gst_buffer_map (buffer, map, GST_MAP_WRITE))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
      "a buffer of downstream's pool cannot be mapped for writing; expected system memory: add "
      "\"identity drop-allocation=true\" after this element");
  return FALSE;
}

void
gst_avatar_output_pool_close (GstBufferPool **pool)
{
  if (*pool)
    gst_buffer_pool_set_active (*pool, FALSE);
  gst_clear_object (pool);
}

void
gst_avatar_output_stamp (GstBuffer *buffer, guint64 index, GstClockTime begin, GstClockTime end,
    gboolean *discont)
{
  GST_BUFFER_PTS (buffer) = begin;
  GST_BUFFER_DURATION (buffer) = end - begin;
  GST_BUFFER_OFFSET (buffer) = index;
  GST_BUFFER_OFFSET_END (buffer) = index + 1;
  if (*discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  *discont = FALSE;
}
