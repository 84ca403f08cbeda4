/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model and the device that the elements of a process share, and the properties that choose
 * them. Opened in READY to PAUSED, never before: a machine without them can still inspect. */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>
#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarModelInfo *info;
} GstAvatarEngine;

/* What each element keeps: its settings, the engine while it is open, the newest statistics.
 * The element's object lock guards the settings and @stats. */
typedef struct
{
  gchar *model;
  gchar *device;
  GstAvatarEngine *engine;
  GstStructure *stats;
} GstAvatarEngineUser;

enum
{
  GST_AVATAR_PROP_0,
  GST_AVATAR_PROP_MODEL,
  GST_AVATAR_PROP_DEVICE,
  GST_AVATAR_PROP_STATS,
  GST_AVATAR_PROP_LAST
};

/* model, device and stats, which every element has. */
void gst_avatar_engine_install_properties (GObjectClass *klass);
void gst_avatar_engine_user_init (GstAvatarEngineUser *user);
void gst_avatar_engine_user_clear (GstAvatarEngineUser *user);
/* %FALSE: not one of the three. */
gboolean gst_avatar_engine_user_set_property (GstAvatarEngineUser *user, GstElement *element,
    guint id, const GValue *value);
gboolean gst_avatar_engine_user_get_property (GstAvatarEngineUser *user, GstElement *element,
    guint id, GValue *value);

/* Opens model and device, or shares those that another element has open; progress and the error
 * go to the bus. */
gboolean gst_avatar_engine_user_open (GstAvatarEngineUser *user, GstElement *element);
void gst_avatar_engine_user_close (GstAvatarEngineUser *user);
/* Takes @stats. */
void gst_avatar_engine_user_set_stats (GstAvatarEngineUser *user, GstElement *element,
    GstStructure *stats);

G_END_DECLS
