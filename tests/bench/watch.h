/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much memory a program takes at its peak, looked at by a thread of its own while it runs. */
#pragma once

#include <avatar/device.h>

G_BEGIN_DECLS

typedef struct _Watch Watch;

/**
 * WatchPeaks: bytes
 * @gpu: of the whole GPU, by its driver, a thousand times a second; 0: there is none
 * @host: of this process, a hundred times a second: memory that is no page of a file (RssAnon), and what the
 *   driver has page-locked (shared mappings without a file, which are resident as a whole). Pages of mapped
 *   files are left out: they are the page cache's, and any program's. 0: the system does not tell
 */
typedef struct
{
  guint64 gpu, host;
} WatchPeaks;

Watch *watch_new (AvatarDevice *device);
/* So far, this moment included. */
void watch_get (Watch *self, WatchPeaks *peaks);
void watch_free (Watch *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Watch, watch_free)

G_END_DECLS
