/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties of avatarbin that are those of its stages. Every property of a stage that is not
 * deprecated is also a property of the bin. One that several stages have is set on all of them. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_AVATAR_BIN_STAGES 3

/* Ids of these properties. The bin's own properties have lower ids. */
#define GST_AVATAR_BIN_PROP_STAGES 64

typedef enum
{
  GST_AVATAR_PROFILE_QUALITY,
  GST_AVATAR_PROFILE_LIVE,
  GST_AVATAR_PROFILE_REALTIME,
} GstAvatarProfile;

#define GST_TYPE_AVATAR_PROFILE (gst_avatar_profile_get_type ())
GType gst_avatar_profile_get_type (void);

/* Installs the properties of the stages. */
void gst_avatar_bin_props_install (GObjectClass *klass);
/* Returns %TRUE if @name is one of them. Their changes are announced by the bin (notify) when the
 * stage announces them. */
gboolean gst_avatar_bin_props_has (GObject *bin, const gchar *name);
/* @stages: the elements, in the order of the data flow. Return %FALSE for other properties. */
gboolean
gst_avatar_bin_props_set (GstElement *const *stages, const GValue *value, const GParamSpec *pspec);
gboolean
gst_avatar_bin_props_get (GstElement *const *stages, GValue *value, const GParamSpec *pspec);
/* Loads the preset of each stage that belongs to @profile. */
gboolean
gst_avatar_bin_props_load (GstElement *const *stages, GstAvatarProfile profile, GError **error);

G_END_DECLS
