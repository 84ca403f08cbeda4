/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Peak memory of a program, sampled by a thread. */
#pragma once

#include <avatar/device.h>

G_BEGIN_DECLS

typedef struct _Watch Watch;

/**
 * WatchPeaks: (bytes)
 * @gpu: memory in use on the whole GPU, from the driver, sampled 1000 times a second; 0: no GPU
 * @host: memory of this process, sampled 100 times a second: anonymous pages (RssAnon) and memory
 *   page-locked by the driver (shared mappings without a file). Pages of mapped files are excluded,
 *   as they belong to the page cache. 0: unknown
 */
typedef struct
{
  guint64 gpu, host;
} WatchPeaks;

Watch *watch_new (AvatarDevice *device);
/* Returns the peaks up to now. */
void watch_get (Watch *self, WatchPeaks *peaks);
void watch_free (Watch *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Watch, watch_free)

G_END_DECLS
