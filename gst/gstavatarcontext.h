/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The GstContext through which elements and application share an engine: type
 * "gst.avatar.Engine", persistent. Fields, each of which may be missing:
 *   engine (GstAvatarEngine): that is open; elements that name its model and device take it
 *   model, device (string): what elements use whose own properties are not set. An application may
 *     make such a context and set it on a pipeline or answer NEED_CONTEXT with it. */
#pragma once

#include "gst/gstavatarengine.h"

G_BEGIN_DECLS

#define GST_AVATAR_ENGINE_CONTEXT "gst.avatar.Engine"

/* Asks the neighbours behind (GST_PAD_SRC) or before (GST_PAD_SINK) @element. What they have is set
 * on it, as by gst_element_set_context(). */
void gst_avatar_context_query (GstElement *element, GstPadDirection direction);
/* Asks bins and the application. */
void gst_avatar_context_need (GstElement *element);
/* @model, @device: (nullable): what the application said, passed on. */
GstContext *
gst_avatar_context_new (GstAvatarEngine *engine, const gchar *model, const gchar *device);
/* Tells them what @element has opened. */
void gst_avatar_context_have (GstElement *element, GstContext *context);
/* Whether @query asks for such a context. */
gboolean gst_avatar_context_is_query (GstQuery *query);

G_END_DECLS
