/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties of the stages within avatarbin: see the header. */
#include "gst/gstavatarbinprops.h"

#include <avatar/error.h>
#include <gio/gio.h>

#include "gst/gstavataraliases.h"
#include "gst/gstavataraudioenc.h"
#include "gst/gstavatardenoise.h"
#include "gst/gstavatarvaedecode.h"

/* A property of one or several stages. */
typedef struct
{
  guint stages;       /* bits */
  const gchar *blurb; /* in place of the stage's, or %NULL */
} Entry;

/* Properties of stages that the bin does not take over as they are, and the reasons. */
static const struct
{
  const gchar *name;
  const gchar *blurb;
} exceptions[] = {
  { "stats", NULL }, /* the bin has a property of this name with the statistics of all stages */
  { "upstream-rounding",
      "Round values in and between the stages as HunyuanVideo-Avatar does; for comparisons" },
};

/* Presets of the stages, in the order of GstAvatarProfile. */
static const gchar *const preset_names[] = { "Quality", "Live", "Realtime" };

GType
gst_avatar_profile_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    { GST_AVATAR_PROFILE_QUALITY, "Long windows, for the best picture: preset Quality", "quality" },
    { GST_AVATAR_PROFILE_LIVE, "Short windows, for live sources: preset Live", "live" },
    { GST_AVATAR_PROFILE_REALTIME, "The shortest latency: preset Realtime", "realtime" },
    { 0, NULL, NULL },
  };

  if (g_once_init_enter (&type)) {
    GType new_type = g_enum_register_static ("GstAvatarProfile", values);

    gst_type_mark_as_plugin_api (new_type, 0);
    g_once_init_leave (&type, new_type);
  }
  return type;
}

static GQuark
entry_quark (void)
{
  return g_quark_from_static_string ("gst-avatar-bin-entry");
}

static const Entry *
entry_of (const GParamSpec *pspec)
{
  return g_param_spec_get_qdata ((GParamSpec *) pspec, entry_quark ());
}

/* Returns %FALSE if the bin does not take over the property @name. @blurb: (out): the bin's blurb,
 * if it has another one */
static gboolean
is_taken_over (const gchar *name, const gchar **blurb)
{
  *blurb = NULL;
  for (guint i = 0; i < G_N_ELEMENTS (exceptions); i++) {
    if (g_str_equal (exceptions[i].name, name)) {
      *blurb = exceptions[i].blurb;
      return *blurb != NULL;
    }
  }
  return TRUE;
}

/* Installs a property of @stage, or adds the stage to a property that an earlier one has. */
static void
install_one (GObjectClass *klass, guint *id, guint stage, GParamSpec *target)
{
  GParamSpec *pspec = g_object_class_find_property (klass, target->name);
  const gchar *blurb;
  Entry *entry;

  if (!is_taken_over (target->name, &blurb))
    return;
  if (pspec) {
    entry = (Entry *) entry_of (pspec);
    g_assert (entry && pspec->value_type == target->value_type);
    entry->stages |= 1u << stage;
    return;
  }
  pspec = gst_avatar_pspec_copy (target, target->name, blurb ?: g_param_spec_get_blurb (target),
      target->flags | G_PARAM_EXPLICIT_NOTIFY);
  entry = g_new0 (Entry, 1);
  entry->stages = 1u << stage;
  g_param_spec_set_qdata_full (pspec, entry_quark (), entry, g_free);
  g_object_class_install_property (klass, (*id)++, pspec);
}

void
gst_avatar_bin_props_install (GObjectClass *klass)
{
  const GType types[GST_AVATAR_BIN_STAGES]
      = { GST_TYPE_AVATAR_AUDIO_ENC, GST_TYPE_AVATAR_DENOISE, GST_TYPE_AVATAR_VAE_DECODE };
  guint id = GST_AVATAR_BIN_PROP_STAGES;

  for (guint stage = 0; stage < GST_AVATAR_BIN_STAGES; stage++) {
    GObjectClass *stage_class = g_type_class_ref (types[stage]);
    guint n;
    g_autofree GParamSpec **pspecs = g_object_class_list_properties (stage_class, &n);

    for (guint i = 0; i < n; i++)
      if (pspecs[i]->owner_type == types[stage] && !(pspecs[i]->flags & G_PARAM_DEPRECATED))
        install_one (klass, &id, stage, pspecs[i]);
    g_type_class_unref (stage_class);
  }
}

gboolean
gst_avatar_bin_props_has (GObject *bin, const gchar *name)
{
  GParamSpec *pspec = g_object_class_find_property (G_OBJECT_GET_CLASS (bin), name);

  return pspec && entry_of (pspec);
}

gboolean
gst_avatar_bin_props_set (GstElement *const *stages, const GValue *value, const GParamSpec *pspec)
{
  const Entry *entry = entry_of (pspec);

  for (guint i = 0; entry && i < GST_AVATAR_BIN_STAGES; i++)
    if (entry->stages >> i & 1)
      g_object_set_property (G_OBJECT (stages[i]), pspec->name, value);
  return entry != NULL;
}

gboolean
gst_avatar_bin_props_get (GstElement *const *stages, GValue *value, const GParamSpec *pspec)
{
  const Entry *entry = entry_of (pspec);
  guint stage = 0;

  if (!entry)
    return FALSE;
  while (!(entry->stages >> stage & 1))
    stage++;
  g_object_get_property (G_OBJECT (stages[stage]), pspec->name, value);
  return TRUE;
}

/* Sets the properties of one stage. */
static gboolean
load_preset (GstElement *stage, const gchar *preset, GError **error)
{
  g_autofree gchar *path
      = g_strdup_printf ("/gst-avatar/presets/%s.prs", G_OBJECT_TYPE_NAME (stage));
  g_autoptr (GBytes) bytes = g_resources_lookup_data (path, G_RESOURCE_LOOKUP_FLAGS_NONE, error);
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_auto (GStrv) keys = NULL;

  if (!bytes || !g_key_file_load_from_bytes (file, bytes, G_KEY_FILE_NONE, error))
    return FALSE;
  keys = g_key_file_get_keys (file, preset, NULL, error);
  for (guint i = 0; keys && keys[i]; i++) {
    g_autofree gchar *value = g_key_file_get_string (file, preset, keys[i], NULL);

    if (!g_str_has_prefix (keys[i], "_meta/"))
      gst_util_set_object_arg (G_OBJECT (stage), keys[i], value);
  }
  return keys != NULL;
}

gboolean
gst_avatar_bin_props_load (GstElement *const *stages, GstAvatarProfile profile, GError **error)
{
  for (guint i = 0; i < GST_AVATAR_BIN_STAGES; i++)
    if (!load_preset (stages[i], preset_names[profile], error))
      return FALSE;
  return TRUE;
}
