/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/watch.h"

#include "engine/device/device.h"

#include <string.h>

#define PAUSE 1000 /* microseconds */
/* Pauses between two looks at the host, whose files of text take longer. */
#define HOST_EVERY 10

struct _Watch
{
  AvatarDevice *device;
  GThread *thread;
  gint quit;
  GMutex lock; /* protects @peaks */
  WatchPeaks peaks;
};

static guint64
anonymous (void)
{
  g_autofree char *text = NULL;
  const char *line;

  if (!g_file_get_contents ("/proc/self/status", &text, NULL, NULL))
    return 0;
  line = strstr (text, "\nRssAnon:");
  return line ? g_ascii_strtoull (line + strlen ("\nRssAnon:"), NULL, 10) << 10 : 0;
}

/* A shared mapping without a file is called so by the kernel. */
static guint64
page_locked (void)
{
  g_autofree char *text = NULL;
  guint64 sum = 0;

  if (!g_file_get_contents ("/proc/self/maps", &text, NULL, NULL))
    return 0;
  for (char *line = text; line && *line;) {
    char *end = strchr (line, '\n');

    if (end)
      *end = '\0';
    if (strstr (line, "/dev/zero (deleted)")) {
      char *dash;
      guint64 start = g_ascii_strtoull (line, &dash, 16);

      sum += g_ascii_strtoull (dash + 1, NULL, 16) - start;
    }
    line = end ? end + 1 : NULL;
  }
  return sum;
}

static void
look (Watch *self, gboolean host)
{
  guint64 free_bytes, total, bytes = host ? anonymous () : 0;
  gboolean discrete = avatar_device_get_memory_info (self->device, &free_bytes, &total);

  if (bytes > 0)
    bytes += page_locked ();
  g_mutex_lock (&self->lock);
  if (discrete)
    self->peaks.gpu = MAX (self->peaks.gpu, total - free_bytes);
  self->peaks.host = MAX (self->peaks.host, bytes);
  g_mutex_unlock (&self->lock);
}

static gpointer
watch (gpointer data)
{
  Watch *self = data;

  for (guint i = 0; !g_atomic_int_get (&self->quit); i++) {
    look (self, i % HOST_EVERY == 0);
    g_usleep (PAUSE);
  }
  return NULL;
}

Watch *
watch_new (AvatarDevice *device)
{
  Watch *self = g_new0 (Watch, 1);

  self->device = avatar_device_ref (device);
  g_mutex_init (&self->lock);
  self->thread = g_thread_new ("watch", watch, self);
  return self;
}

void
watch_get (Watch *self, WatchPeaks *peaks)
{
  look (self, TRUE);
  g_mutex_lock (&self->lock);
  *peaks = self->peaks;
  g_mutex_unlock (&self->lock);
}

void
watch_free (Watch *self)
{
  if (!self)
    return;
  g_atomic_int_set (&self->quit, 1);
  g_thread_join (self->thread);
  g_mutex_clear (&self->lock);
  avatar_device_unref (self->device);
  g_free (self);
}
