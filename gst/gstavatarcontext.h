/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The GstContext through which elements and the application share an engine: type
 * "gst.avatar.Engine", persistent. All fields are optional:
 *   engine (GstAvatarEngine): an open engine; used by elements with the same model and device
 *   model, device (string): settings of elements whose own properties are not set. An application
 *     may create such a context and set it on a pipeline, or answer NEED_CONTEXT with it. */
#pragma once

#include "gst/gstavatarengine.h"

G_BEGIN_DECLS

#define GST_AVATAR_ENGINE_CONTEXT "gst.avatar.Engine"

/* Queries the peers downstream (GST_PAD_SRC) or upstream (GST_PAD_SINK) of @element, and sets the
 * context of the first answer on it with gst_element_set_context(). */
void gst_avatar_context_query (GstElement *element, GstPadDirection direction);
/* Posts NEED_CONTEXT, which bins and the application may answer. */
void gst_avatar_context_need (GstElement *element);
/* @model, @device: (nullable): settings of the application, passed on to other elements. */
GstContext *
gst_avatar_context_new (GstAvatarEngine *engine, const gchar *model, const gchar *device);
/* Sets @context on @element and posts HAVE_CONTEXT. */
void gst_avatar_context_have (GstElement *element, GstContext *context);
/* Returns %TRUE if @query asks for a context of this type. */
gboolean gst_avatar_context_is_query (GstQuery *query);

G_END_DECLS
