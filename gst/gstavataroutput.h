/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Output buffers. Each element asks its stage if an item is ready or due, acquires a buffer from
 * the pool that was negotiated with the caps, pulls the item into it, stamps it and pushes it. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * gst_avatar_output_pool_new:
 * @query: an ALLOCATION query with the caps of the buffers, answered by downstream or not
 * @size: size of a buffer in bytes
 *
 * Returns: (transfer full): downstream's pool if it has no limit and its buffers fit, else a new
 * pool. It is active. The number of buffers is unlimited, because a stage makes many items at
 * once.
 */
GstBufferPool *gst_avatar_output_pool_new (GstQuery *query, gsize size);
/* Sends the ALLOCATION query from @pad and makes the pool. */
GstBufferPool *gst_avatar_output_pool_negotiate (GstPad *pad, GstCaps *caps, gsize size);
/* Maps a buffer of the pool for writing. Buffers of a pool of downstream may not allow it. */
gboolean gst_avatar_output_map (GstBuffer *buffer, GstMapInfo *map, GError **error);
/* Deactivates and releases the pool. Buffers that are still in use stay valid. */
void gst_avatar_output_pool_close (GstBufferPool **pool);

/**
 * gst_avatar_output_stamp:
 * @index: position of the item in the stream
 * @begin, @end: times of the item
 * @discont: (inout): flags the buffer DISCONT if set; cleared
 */
void gst_avatar_output_stamp (GstBuffer *buffer, guint64 index, GstClockTime begin,
    GstClockTime end, gboolean *discont);

G_END_DECLS
