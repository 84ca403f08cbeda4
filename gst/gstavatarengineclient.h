/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of an element that uses a shared engine: the properties that choose it, contexts,
 * statistics, and deprecated properties. The engine is opened in READY to PAUSED, so that elements
 * can be created and inspected on a machine without a model or device. */
#pragma once

#include "gst/gstavataraliases.h"
#include "gst/gstavatarengine.h"
#include "gst/gstavatarprocessing.h"

G_BEGIN_DECLS

/* Settings, the engine while it is open, and the newest statistics. Guarded by the element's object
 * lock; streaming threads may read @engine without it. */
typedef struct
{
  gchar *model;
  gchar *device;
  gchar *budget;
  GstAvatarEngine *engine;
  GstStructure *stats;
  GstAvatarAliases aliases;
  GstAvatarProcessing processing; /* time for computing, in the LATENCY query */
  /* from contexts */
  GstAvatarEngine *context_engine;
  gchar *context_model, *context_device;
} GstAvatarEngineClient;

enum
{
  GST_AVATAR_PROP_0,
  GST_AVATAR_PROP_MODEL,
  GST_AVATAR_PROP_DEVICE,
  GST_AVATAR_PROP_BUDGET,
  GST_AVATAR_PROP_STATS,
  GST_AVATAR_PROP_PROCESSING_LATENCY,
  GST_AVATAR_PROP_LAST
};

/* Installs model, device, vram-budget, stats and processing-latency. */
void gst_avatar_engine_install_properties (GObjectClass *klass);
void gst_avatar_engine_client_init (GstAvatarEngineClient *client);
void gst_avatar_engine_client_clear (GstAvatarEngineClient *client, GstElement *element);
/* Handle the properties above and deprecated ones. Return %FALSE for other properties. */
gboolean gst_avatar_engine_client_set_property (GstAvatarEngineClient *client, GstElement *element,
    const GValue *value, GParamSpec *pspec);
gboolean gst_avatar_engine_client_get_property (GstAvatarEngineClient *client, GstElement *element,
    GValue *value, GParamSpec *pspec);

/* Called by the element's set_context, before the parent class. */
void gst_avatar_engine_client_set_context (GstAvatarEngineClient *client, GstElement *element,
    GstContext *context);
/* Answers a CONTEXT query. Returns %FALSE for other queries, or if no engine is open. */
gboolean gst_avatar_engine_client_query (GstAvatarEngineClient *client, GstElement *element,
    GstQuery *query);

/* Uses the engine of a context or of another element, or opens one. Posts progress, errors, and the
 * warning about deprecated properties. */
gboolean gst_avatar_engine_client_open (GstAvatarEngineClient *client, GstElement *element);
void gst_avatar_engine_client_close (GstAvatarEngineClient *client, GstElement *element);
/* Takes ownership of @stats. */
void gst_avatar_engine_client_set_stats (GstAvatarEngineClient *client, GstElement *element,
    GstStructure *stats);

G_END_DECLS
