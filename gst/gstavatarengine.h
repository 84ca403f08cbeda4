/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One model on one device, opened once per process and shared by all elements that ask for it, and
 * the memory budget of a device, which its elements share. */
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

/* A boxed type with reference counting. */
#define GST_TYPE_AVATAR_ENGINE (gst_avatar_engine_get_type ())
GType gst_avatar_engine_get_type (void);

/* @model: (nullable): folder of the model; %NULL: the default model. */
GstAvatarEngine *gst_avatar_engine_open (const gchar *model, const gchar *device, GError **error);
GstAvatarEngine *gst_avatar_engine_ref (GstAvatarEngine *engine);
void gst_avatar_engine_unref (GstAvatarEngine *engine);
/* Returns %TRUE if gst_avatar_engine_open() would return @engine for @model and @device. */
gboolean gst_avatar_engine_is (GstAvatarEngine *engine, const gchar *model, const gchar *device);

/**
 * gst_avatar_engine_request_budget:
 * @client: identifies the request; replaces the previous one of the same client
 * @text: the budget, in the form that avatar_device_parse_budgets() takes
 *
 * The lowest budget that a client of the device requests is in force; "auto" only if all request
 * it.
 */
gboolean gst_avatar_engine_request_budget (GstAvatarEngine *engine, gconstpointer client,
    const gchar *text, GError **error);
void gst_avatar_engine_withdraw_budget (gconstpointer client);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (GstAvatarEngine, gst_avatar_engine_unref)

G_END_DECLS
