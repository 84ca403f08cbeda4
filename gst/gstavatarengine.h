/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One model on one device, open once in the process for all who name the same, and the budget that
 * all elements on a device keep to together. */
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

/* Boxed, counted. */
#define GST_TYPE_AVATAR_ENGINE (gst_avatar_engine_get_type ())
GType gst_avatar_engine_get_type (void);

/* @model: %NULL: the default one. */
GstAvatarEngine *gst_avatar_engine_open (const gchar *model, const gchar *device, GError **error);
GstAvatarEngine *gst_avatar_engine_ref (GstAvatarEngine *engine);
void gst_avatar_engine_unref (GstAvatarEngine *engine);
/* Whether gst_avatar_engine_open() would give this one. */
gboolean gst_avatar_engine_is (GstAvatarEngine *engine, const gchar *model, const gchar *device);

/* What @user wants as the budget of the engine's device, as avatar_device_parse_budget() takes it.
 * The lowest that somebody has asked for holds; with none but "auto", that. */
gboolean gst_avatar_engine_claim_budget (GstAvatarEngine *engine, gconstpointer user,
    const gchar *text, GError **error);
/* @user asks for nothing any more. */
void gst_avatar_engine_drop_budget (gconstpointer user);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (GstAvatarEngine, gst_avatar_engine_unref)

G_END_DECLS
