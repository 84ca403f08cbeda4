/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every element does with the engine that it shares with others: the properties that choose
 * it, contexts, statistics. Opened in READY to PAUSED, never before: a machine without model or
 * device can still inspect. */
#pragma once

#include "gst/gstavatarengine.h"

G_BEGIN_DECLS

/* What each element keeps: its settings, the engine while it is open, the newest statistics.
 * The element's object lock guards all of it; the streaming threads may read @engine without. */
typedef struct
{
  gchar *model;
  gchar *device;
  gchar *budget;
  GstAvatarEngine *engine;
  GstStructure *stats;
  /* of contexts */
  GstAvatarEngine *offered;
  gchar *offered_model, *offered_device;
} GstAvatarEngineUser;

enum
{
  GST_AVATAR_PROP_0,
  GST_AVATAR_PROP_MODEL,
  GST_AVATAR_PROP_DEVICE,
  GST_AVATAR_PROP_BUDGET,
  GST_AVATAR_PROP_STATS,
  GST_AVATAR_PROP_LAST
};

/* model, device, vram-budget and stats, which every element has. */
void gst_avatar_engine_install_properties (GObjectClass *klass);
void gst_avatar_engine_user_init (GstAvatarEngineUser *user);
void gst_avatar_engine_user_clear (GstAvatarEngineUser *user, GstElement *element);
/* %FALSE: not one of these. */
gboolean gst_avatar_engine_user_set_property (GstAvatarEngineUser *user, GstElement *element,
    guint id, const GValue *value);
gboolean gst_avatar_engine_user_get_property (GstAvatarEngineUser *user, GstElement *element,
    guint id, GValue *value);

/* For the element's set_context, before the parent class's. */
void gst_avatar_engine_user_set_context (GstAvatarEngineUser *user, GstElement *element,
    GstContext *context);
/* %FALSE: not a query for the engine, or none is open. */
gboolean
gst_avatar_engine_user_query (GstAvatarEngineUser *user, GstElement *element, GstQuery *query);

/* Opens model and device, or takes those that a context offers or another element has open;
 * progress and the error go to the bus. */
gboolean gst_avatar_engine_user_open (GstAvatarEngineUser *user, GstElement *element);
void gst_avatar_engine_user_close (GstAvatarEngineUser *user, GstElement *element);
/* Takes @stats. */
void gst_avatar_engine_user_set_stats (GstAvatarEngineUser *user, GstElement *element,
    GstStructure *stats);

G_END_DECLS
