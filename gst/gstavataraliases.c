/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deprecated names of properties: see the header. */
#include "gst/gstavataraliases.h"

#define MAX_ALIASES 32

/* Names the data of an alias that points to its GstAvatarAlias. */
static GQuark
alias_quark (void)
{
  return g_quark_from_static_string ("gst-avatar-alias");
}

static const GstAvatarAlias *
alias_of (GParamSpec *pspec)
{
  return g_param_spec_get_qdata (pspec, alias_quark ());
}

GParamSpec *
gst_avatar_pspec_copy (GParamSpec *target, const gchar *name, const gchar *blurb, GParamFlags flags)
{
  const GValue *value = g_param_spec_get_default_value (target);
  const gchar *nick = g_param_spec_get_nick (target);

  flags &= ~G_PARAM_STATIC_STRINGS;
  if (G_IS_PARAM_SPEC_STRING (target))
    return g_param_spec_string (name, nick, blurb, g_value_get_string (value), flags);
  if (G_IS_PARAM_SPEC_BOOLEAN (target))
    return g_param_spec_boolean (name, nick, blurb, g_value_get_boolean (value), flags);
  if (G_IS_PARAM_SPEC_ENUM (target))
    return g_param_spec_enum (name, nick, blurb, target->value_type, g_value_get_enum (value),
        flags);
  if (G_IS_PARAM_SPEC_INT (target))
    return g_param_spec_int (name, nick, blurb, G_PARAM_SPEC_INT (target)->minimum,
        G_PARAM_SPEC_INT (target)->maximum, g_value_get_int (value), flags);
  if (G_IS_PARAM_SPEC_UINT (target))
    return g_param_spec_uint (name, nick, blurb, G_PARAM_SPEC_UINT (target)->minimum,
        G_PARAM_SPEC_UINT (target)->maximum, g_value_get_uint (value), flags);
  if (G_IS_PARAM_SPEC_INT64 (target))
    return g_param_spec_int64 (name, nick, blurb, G_PARAM_SPEC_INT64 (target)->minimum,
        G_PARAM_SPEC_INT64 (target)->maximum, g_value_get_int64 (value), flags);
  if (G_IS_PARAM_SPEC_UINT64 (target))
    return g_param_spec_uint64 (name, nick, blurb, G_PARAM_SPEC_UINT64 (target)->minimum,
        G_PARAM_SPEC_UINT64 (target)->maximum, g_value_get_uint64 (value), flags);
  if (G_IS_PARAM_SPEC_DOUBLE (target))
    return g_param_spec_double (name, nick, blurb, G_PARAM_SPEC_DOUBLE (target)->minimum,
        G_PARAM_SPEC_DOUBLE (target)->maximum, g_value_get_double (value), flags);
  g_return_val_if_reached (NULL);
}

static GParamSpec *
pspec_new (const GstAvatarAlias *alias, GParamSpec *target)
{
  g_autofree gchar *blurb = g_strdup_printf ("Deprecated: use %s", alias->target);

  return gst_avatar_pspec_copy (target, alias->name, blurb, target->flags | G_PARAM_DEPRECATED);
}

void
gst_avatar_aliases_install (GObjectClass *klass, const GstAvatarAlias *aliases)
{
  for (guint i = 0; aliases[i].name; i++) {
    GParamSpec *target = g_object_class_find_property (klass, aliases[i].target);
    GParamSpec *pspec = pspec_new (&aliases[i], target);

    g_assert (i < MAX_ALIASES);
    g_object_class_install_property (klass, GST_AVATAR_PROP_ALIAS + i, pspec);
    g_param_spec_set_qdata (pspec, alias_quark (), (gpointer) &aliases[i]);
  }
}

gboolean
gst_avatar_aliases_set (GstAvatarAliases *self, GstElement *element, GParamSpec *pspec,
    const GValue *value)
{
  const GstAvatarAlias *alias = alias_of (pspec);
  gboolean running;

  if (!alias)
    return FALSE;
  GST_OBJECT_LOCK (element);
  self->used |= 1u << (pspec->param_id - GST_AVATAR_PROP_ALIAS);
  running = GST_STATE (element) >= GST_STATE_PAUSED;
  GST_OBJECT_UNLOCK (element);
  GST_CAT_WARNING_OBJECT (GST_CAT_DEFAULT, element, "property %s is deprecated: use %s",
      alias->name, alias->target);
  if (running)
    gst_avatar_aliases_warn (self, element);
  g_object_set_property (G_OBJECT (element), alias->target, value);
  return TRUE;
}

gboolean
gst_avatar_aliases_get (GstElement *element, GParamSpec *pspec, GValue *value)
{
  const GstAvatarAlias *alias = alias_of (pspec);

  if (alias)
    g_object_get_property (G_OBJECT (element), alias->target, value);
  return alias != NULL;
}

static gchar *
list_used (GstElement *element, guint used)
{
  GString *text = g_string_new (NULL);
  guint n;
  g_autofree GParamSpec **pspecs
      = g_object_class_list_properties (G_OBJECT_GET_CLASS (element), &n);

  for (guint i = 0; i < n; i++) {
    const GstAvatarAlias *alias = alias_of (pspecs[i]);

    if (alias && used >> (pspecs[i]->param_id - GST_AVATAR_PROP_ALIAS) & 1)
      g_string_append_printf (text, "%s%s (use %s)", text->len ? ", " : "", alias->name,
          alias->target);
  }
  return g_string_free (text, FALSE);
}

void
gst_avatar_aliases_warn (GstAvatarAliases *self, GstElement *element)
{
  g_autofree gchar *names = NULL;
  guint used;

  GST_OBJECT_LOCK (element);
  used = self->warned ? 0 : self->used;
  self->warned |= used != 0;
  GST_OBJECT_UNLOCK (element);
  if (!used)
    return;
  names = list_used (element, used);
  GST_ELEMENT_WARNING (element, RESOURCE, SETTINGS,
      ("deprecated properties were set: %s. They work as before and will be removed", names),
      (NULL));
}

/* Names of the properties that a preset saves: all that can be read and written at any time. */
static gchar **
get_property_names (GstPreset *preset)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  guint n;
  g_autofree GParamSpec **pspecs = g_object_class_list_properties (G_OBJECT_GET_CLASS (preset), &n);

  for (guint i = 0; i < n; i++) {
    GParamFlags flags = pspecs[i]->flags;

    if ((flags & G_PARAM_READWRITE) == G_PARAM_READWRITE && !(flags & G_PARAM_CONSTRUCT_ONLY)
        && !(flags & G_PARAM_DEPRECATED) && pspecs[i]->owner_type != GST_TYPE_OBJECT)
      g_ptr_array_add (names, g_strdup (pspecs[i]->name));
  }
  g_ptr_array_add (names, NULL);
  return (gchar **) g_ptr_array_steal (names, NULL);
}

void
gst_avatar_preset_init (gpointer iface, gpointer data)
{
  ((GstPresetInterface *) iface)->get_property_names = get_property_names;
}
