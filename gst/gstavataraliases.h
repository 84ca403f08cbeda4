/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deprecated names of properties. Each is an alias of a property with another name: it sets and
 * gets the value of that property, and is not saved in presets. An element that is configured by
 * deprecated names posts one warning that lists them, when it starts or when the first one is
 * set later. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct
{
  const gchar *name; /* deprecated */
  const gchar *target;
} GstAvatarAlias;

/* Ids of aliases. Other properties have lower ids. */
#define GST_AVATAR_PROP_ALIAS 256

/* State of an element; guarded by its object lock. */
typedef struct
{
  guint used; /* bits: aliases that were set */
  gboolean warned;
} GstAvatarAliases;

/* Creates a property of the type, range and default of @target. Strings of @flags are not static.
 * Returns: (transfer full) */
GParamSpec *gst_avatar_pspec_copy (GParamSpec *target, const gchar *name, const gchar *blurb,
    GParamFlags flags);
/* Installs @aliases, which is static and ends with a %NULL name, after their targets. */
void gst_avatar_aliases_install (GObjectClass *klass, const GstAvatarAlias *aliases);
/* Handle set_property and get_property. Return %FALSE if @pspec is not an alias. */
gboolean gst_avatar_aliases_set (GstAvatarAliases *self, GstElement *element, GParamSpec *pspec,
    const GValue *value);
gboolean gst_avatar_aliases_get (GstElement *element, GParamSpec *pspec, GValue *value);
/* Posts the warning, if an alias was set, and if it was not posted before. Called in READY to
 * PAUSED. */
void gst_avatar_aliases_warn (GstAvatarAliases *self, GstElement *element);

/* Initialises the interface #GstPreset such that aliases are not saved. */
void gst_avatar_preset_init (gpointer iface, gpointer data);

G_END_DECLS
